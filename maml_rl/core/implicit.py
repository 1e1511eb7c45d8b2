"""The implicit differentiation mode: a meta-gradient that forgets the path (Rajeswaran et al., 2019)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from maml_rl.core.linalg import conjugate_gradient
from maml_rl.core.modes import Mode, constant_signal
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Batch, InnerState, Params, Step

__all__ = ["implicit"]


def implicit(cg_iterations: int = 5, damping: float = 0.0, probe: Tensor | None = None) -> Mode:
    """Takes phi_K for a minimum phi* of the proximal problem: d phi* / d theta = (I + grad^2 loss(phi*) / lam)^-1.

    The last step, phi' = F(phi, theta) = phi - a (grad loss(phi) + lam (phi - theta)), has phi* as its fixed point, so,
    with H = grad^2 loss(phi*),

        d phi* / d theta = (I - dF/dphi)^-1 dF/dtheta = (a (H + lam I))^-1 a lam,

    the same matrix. Its product with a gradient takes `cg_iterations` of conjugate gradient, each one Hessian-vector
    product at phi_K. Of the path only the start and phi_K are kept, and no graph: memory does not grow with K.

    Where the pull does not outweigh the loss's negative curvature, phi_K is no minimum and the derivative is not what
    it should be. `damping` takes it with lam (1 + damping) in lam's place: towards first order, and safer. Conjugate
    gradient stops at a direction p with p'Ap <= 0; if that is the first one, the task's derivative is taken for the
    identity, as truncated Newton methods do (Nocedal and Wright, 2006, algorithm 7.1).

    It holds for a minimum only, so it goes with the rule ``proximal_sgd`` and the objective ``final``. Derivatives
    reach the start, and nothing else that the loss may depend on.

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

    def walk(step: Step, state: InnerState, batches: Sequence[Batch], first_step: int) -> list[InnerState]:
        if not batches:
            return [state]
        theta, final = state.memory, state
        with torch.no_grad():
            for index, batch in enumerate(batches, first_step):
                final = step.move(constant_signal(step.observe, final, batch, index), final, index)
        last = first_step + len(batches) - 1
        reached = _attach(step, theta, final.params, batches[-1], last, (cg_iterations, damping), probe)
        return [state, InnerState(reached, theta)]

    return Mode("implicit", walk, rule="proximal_sgd", objective="final")


def _attach(
    step: Step, theta: Params, reached: Params, batch: Batch, index: int, cg: tuple[int, float], probe: Tensor | None
) -> Params:
    """`reached` as a function of `theta`, with the derivative of a fixed point of `step`."""
    iterations, damping = cg
    leaves, spec = _pytree.tree_flatten(batch)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def rebuilt(values: Sequence[Tensor]) -> Batch:
        remaining = iter(values)
        return _pytree.tree_unflatten([next(remaining) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)

    like = reached

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
            kept = rebuilt(data)

            def image(phi: Tensor, origin: Tensor) -> Tensor:
                state = InnerState(unflatten(phi, like), unflatten(origin, like))
                return flatten(step.move(step.observe(state, kept, index), state, index).params)

            def residual(phi: Tensor) -> Tensor:
                return phi - image(phi, start)

            curvature = torch.func.vjp(residual, point)[1]
            pull = torch.func.vjp(lambda origin: image(point, origin), start)[1]

            def product(vector: Tensor) -> Tensor:
                # For this rule I - dF/dphi is symmetric: its transposed product is its product. dF/dtheta is a lam I.
                return curvature(vector)[0] + damping * pull(vector)[0]

            solution = conjugate_gradient(product, gradient, iterations, stops=False)
            stopped_at_once = solution.indefinite & (solution.x == 0).all()
            found = torch.where(stopped_at_once, gradient, (1 + damping) * pull(solution.x)[0])
            return found, None, solution.indefinite.to(counter.dtype), *[None] * len(data)

    apply: Callable[..., Tensor] = FixedPoint.apply
    point = flatten(reached)
    return unflatten(apply(flatten(theta), point, point.new_zeros(()) if probe is None else probe, *tensors), like)
