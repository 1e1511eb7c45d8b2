"""How the meta-gradient passes through adaptation (Finn et al., 2017, section 5.2 for the first-order form)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from maml_rl.core.objectives import Objective
from maml_rl.core.tree import detach
from maml_rl.core.types import Batch, InnerState, Rule, Step, Walk

__all__ = ["Mode", "annealed_order", "first_order", "require_compatible", "unrolled", "constant_signal", "walk_with"]


class Mode(NamedTuple):
    """A differentiation mode.

    Attributes:
        name: how messages call it.
        walk: how it walks the adaptation path with a step function.
        rule: the name of the one inner rule that it holds for; any where it is None.
        objective: the name of the one meta-objective that it holds for; any where it is None.
    """

    name: str
    walk: Walk
    rule: str | None = None
    objective: str | None = None


def unrolled() -> Mode:
    """Differentiates through every inner step: d phi_{k+1} / d phi_k = I - a_k H_k for gradient descent."""
    return Mode("unrolled", lambda *args: walk_with(lambda observe, *at: observe(*at), *args))


def first_order() -> Mode:
    """Takes each step's signal as a constant: d phi_{k+1} / d phi_k = I for gradient descent."""
    return Mode("first_order", lambda *args: walk_with(constant_signal, *args))


def annealed_order(epoch: int, first_order_epochs: int) -> Mode:
    """First order to the end of epoch `first_order_epochs`, unrolled afterwards (Antoniou et al., 2018, section 4).

    Args:
        epoch: counted from 0; epochs 0 to `first_order_epochs` are of first order, none if that is 0.
        first_order_epochs: how long.
    """
    return first_order() if first_order_epochs and epoch <= first_order_epochs else unrolled()


def require_compatible(mode: Mode, rule: Rule, objective: Objective | None = None) -> None:
    """Raises `ValueError`, naming both, where the mode's derivative does not hold for the rule or the objective."""
    if mode.rule not in (None, rule.name):
        raise ValueError(f"mode {mode.name!r} holds for the rule {mode.rule!r} only, got {rule.name!r}.")
    if objective is not None and mode.objective not in (None, objective.name):
        raise ValueError(
            f"mode {mode.name!r} differentiates the end of adaptation only, so it goes with the objective "
            f"{mode.objective!r}, got {objective.name!r}."
        )


def constant_signal(observe: Callable[..., Any], *at: Any) -> Any:
    """What `observe` sees, without a graph of how it came about, neither backward nor forward."""
    with torch.no_grad():
        return detach(observe(*at))


def walk_with(
    signal_of: Callable[..., Any],
    step: Step,
    state: InnerState,
    batches: Sequence[Batch],
    first_step: int,
) -> list[InnerState]:
    """The path of a rule that acts on ``signal_of(observe, state, batch, index)``."""
    path = [state]
    for index, batch in enumerate(batches, first_step):
        state = step.move(signal_of(step.observe, state, batch, index), state, index)
        path.append(state)
    return path
