"""The implicit differentiation mode: a meta-gradient that forgets the path (Rajeswaran et al., 2019)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree

from maml_rl.core.linalg import conjugate_gradient
from maml_rl.core.modes import Mode, constant_signal
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Batch, InnerState, Meta, Params, Step

__all__ = ["implicit"]


def implicit(cg_iterations: int = 5, damping: float = 0.0, probe: Tensor | None = None) -> Mode:
    """Takes phi_K for a minimum phi* of the proximal problem: d phi* / d theta = (I + grad^2 loss(phi*) / lam)^-1.

    The last step, phi' = F(phi, theta, m) = phi - a (grad loss(phi, m) + lam (phi - theta)), has phi* as its fixed
    point, so, with H = grad^2 loss(phi*),

        d phi* / d theta = (I - dF/dphi)^-1 dF/dtheta = (a (H + lam I))^-1 a lam,

    the same matrix, and d phi* / dm = (I - dF/dphi)^-1 dF/dm for further meta-parameters m that the loss or the rule
    reads. The product with a gradient takes `cg_iterations` of conjugate gradient, each one Hessian-vector product at
    phi_K. Of the path only the start and phi_K are kept, and no graph: memory does not grow with K.

    Where the pull does not outweigh the loss's negative curvature, phi_K is no minimum and the derivative is not what
    it should be. `damping` takes it with lam (1 + damping) in lam's place: towards first order, and safer. Conjugate
    gradient stops at a direction p with p'Ap <= 0; if that is the first one, the task's derivative in theta is taken
    for the identity, as truncated Newton methods do (Nocedal and Wright, 2006, algorithm 7.1), and that in m for zero.

    It holds for a minimum only, so it goes with the rule ``proximal_sgd`` and the objective ``final``.

    Args:
        cg_iterations: of conjugate gradient.
        damping: of the derivative, relative to lam.
        probe: a scalar whose "gradient" is the number of tasks in which conjugate gradient met a direction p with
            p'Ap <= 0.

    Raises:
        ValueError: `cg_iterations` is less than 1, or `damping` negative or not finite.
    """
    if cg_iterations < 1:
        raise ValueError(f"`cg_iterations` must be at least 1, got {cg_iterations}.")
    if not 0 <= damping < math.inf:
        raise ValueError(f"`damping` must be finite and at least 0, got {damping}.")

    def walk(step: Step, state: InnerState, batches: Sequence[Batch], meta: Meta, first_step: int) -> list[InnerState]:
        if not batches:
            return [state]
        theta, final, aux = state.memory, state, ()
        with torch.no_grad():
            for index, batch in enumerate(batches, first_step):
                signal, aux = constant_signal(step.observe, final, batch, meta, index)
                final = step.move(signal, final, meta, index)
        last = _LastStep(step, batches[-1], first_step + len(batches) - 1)
        reached = _attach(last, theta, final.params, meta, (cg_iterations, damping), probe)
        return [state, InnerState(reached, theta, aux)]

    return Mode("implicit", walk, rule="proximal_sgd", objective="final")


class _LastStep(NamedTuple):
    step: Step
    batch: Batch
    place: int


def _attach(
    last: _LastStep, theta: Params, reached: Params, meta: Meta, cg: tuple[int, float], probe: Tensor | None
) -> Params:
    """`reached` as a function of `theta` and `meta`, with the derivative of a fixed point of the last step."""
    (iterations, damping), like = cg, reached
    leaves, structure = _pytree.tree_flatten((meta, last.batch))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    learned = len(_pytree.tree_leaves(meta))

    def rebuilt(values: Sequence[Tensor]) -> tuple[Meta, Batch]:
        remaining = iter(values)
        return _pytree.tree_unflatten(  # type: ignore[no-any-return]
            [next(remaining) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure
        )

    def image(phi: Tensor, origin: Tensor, *data: Tensor) -> Tensor:
        """F: the flat parameters after the last step from `phi`, held to `origin`."""
        groups, batch = rebuilt(data)
        state = InnerState(unflatten(phi, like), unflatten(origin, like))
        signal, _ = last.step.observe(state, batch, groups, last.place)
        return flatten(last.step.move(signal, state, groups, last.place).params)

    class FixedPoint(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(start: Tensor, point: Tensor, counter: Tensor, *data: Tensor) -> Tensor:
            return point.clone()

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor) -> Any:
            start, point, counter, *data = ctx.saved_tensors
            (gradient,) = cotangents
            groups, rest = data[:learned], data[learned:]
            curvature = torch.func.vjp(lambda phi: phi - image(phi, start, *data), point)[1]
            pull = torch.func.vjp(lambda origin, *m: image(point, origin, *m, *rest), start, *groups)[1]

            def product(vector: Tensor) -> Tensor:
                # For this rule I - dF/dphi is symmetric: its transposed product is its product. dF/dtheta is a lam I.
                return curvature(vector)[0] + damping * pull(vector)[0]

            solution = conjugate_gradient(product, gradient, iterations, stops=False)
            stopped_at_once = solution.indefinite & (solution.x == 0).all()
            in_start, *in_groups = pull(solution.x)
            in_theta = torch.where(stopped_at_once, gradient, (1 + damping) * in_start)
            return in_theta, None, solution.indefinite.to(counter.dtype), *in_groups, *[None] * len(rest)

    apply: Callable[..., Tensor] = FixedPoint.apply
    point = flatten(reached)
    return unflatten(apply(flatten(theta), point, point.new_zeros(()) if probe is None else probe, *tensors), like)
