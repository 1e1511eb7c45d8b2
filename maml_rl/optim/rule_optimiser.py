"""Any inner update rule as an optimiser of PyTorch."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from maml_rl.core.tree import detach
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["RuleOptimiser"]


class RuleOptimiser(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` that moves as an inner update rule does.

    It has parameter groups, learning-rate schedulers, closures and `state_dict` like any other. Rules see the
    parameters of a group as one learner, named by their place: ``{"0": ..., "1": ...}``. A parameter without a gradient
    counts as one whose gradient is zero, and stays where it is.

    Args:
        params: parameters, or groups of them.
        rule: ``rule(group)`` is the rule of a step with the options of a group, such as ``group["lr"]``.
        defaults: options of the groups; `lr` among them.
        meta: meta-parameters that the rule reads.

    Raises:
        ValueError: a learning rate is negative or not finite.
        RuntimeError: at a step, gradients are sparse or complex.
    """

    def __init__(
        self,
        params: Iterable[Any],
        rule: Callable[[dict[str, Any]], Rule],
        defaults: dict[str, Any],
        meta: Meta | None = None,
    ) -> None:
        self._rule, self._meta = rule, meta or {}
        super().__init__(params, defaults)
        for group in self.param_groups:
            if not 0 <= group["lr"] < float("inf"):
                raise ValueError(f"`lr` must be finite and at least 0, got {group['lr']}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """A step of the rule for each group; returns what the closure does, which computes loss and gradients anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._move(group)
        return loss

    def _move(self, group: dict[str, Any]) -> None:
        leaves: list[Tensor] = group["params"]
        with_gradient = [leaf for leaf in leaves if leaf.grad is not None]
        if not with_gradient:
            return
        if any(leaf.is_complex() or (leaf.grad is not None and leaf.grad.is_sparse) for leaf in leaves):
            raise RuntimeError(f"{type(self).__name__} takes real parameters with dense gradients.")
        rule, state = self._rule(group), self.state[leaves[0]]
        params: Params = {str(index): leaf.detach() for index, leaf in enumerate(leaves)}
        signal: Params = {
            str(index): torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for index, leaf in enumerate(leaves)
        }
        if not state:
            state["step"] = torch.zeros((), dtype=torch.int64)
            state["memory"] = rule.start(params, self._meta)
        moved = rule.move(signal, InnerState(params, state["memory"]), self._meta, int(state["step"]))
        for index, leaf in enumerate(leaves):
            if leaf.grad is not None:
                leaf.copy_(moved.params[str(index)])
        state["memory"] = detach(moved.memory)
        state["step"] += 1
