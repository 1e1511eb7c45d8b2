"""A meta-optimiser: the trust-region step (Schulman et al., 2015, appendix C)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.linalg import conjugate_gradient

__all__ = ["Report", "TrustRegion", "trust_region_step"]


class TrustRegion(NamedTuple):
    """Settings of the step.

    Attributes:
        radius: largest divergence of an accepted step.
        cg_iterations: products spent on the direction.
        damping: added to the curvature's diagonal.
        line_search_steps: how many lengths are tried.
        shrink: ratio of one tried length to the one before.
    """

    radius: float = 0.01
    cg_iterations: int = 10
    damping: float = 1e-5
    line_search_steps: int = 15
    shrink: float = 0.8


class Report(NamedTuple):
    """What a step did: loss and divergence where it began and ended, lengths tried, and whether one was accepted.

    `residual` is what conjugate gradient left, |b - A x| / |b|.
    """

    accepted: bool
    loss_before: float
    loss_after: float
    divergence_before: float
    divergence_after: float
    tried: int
    indefinite: bool
    residual: float


def trust_region_step(
    point: Tensor,
    before: tuple[float, float],
    gradient: Tensor,
    product: Callable[[Tensor], Tensor],
    evaluate: Callable[[Tensor], tuple[float, float]],
    settings: TrustRegion,
    preconditioner: Tensor | None = None,
) -> tuple[Tensor, Report]:
    """theta' = theta - c^j s x with x = (A + damping)^-1 gradient, s = sqrt(2 radius / x'(A + damping)x).

    The first j whose loss is lower and whose divergence is within the radius, all finite, is accepted; if none is,
    the same tensor `point` comes back.

    Args:
        point: theta, [P].
        before: the loss and the divergence at theta.
        gradient: of the loss at theta, [P].
        product: v -> A v, the curvature of the divergence at theta.
        evaluate: the loss and the divergence at a tried point.
        settings: see `TrustRegion`.
        preconditioner: of conjugate gradient, an estimate of A's diagonal, [P]; none where nothing is given.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
    """
    loss, start = before
    if not (torch.isfinite(torch.as_tensor(loss)) and torch.isfinite(gradient).all()):
        raise FloatingPointError("the meta-loss or its gradient is not finite; the parameters were left as they were.")
    solution = conjugate_gradient(
        lambda vector: product(vector) + settings.damping * vector,
        gradient,
        settings.cg_iterations,
        preconditioner=None if preconditioner is None else preconditioner + settings.damping,
    )
    # x'Ax without another product: A x = b - residual.
    curvature = solution.x @ (gradient - solution.residual)
    full_step = torch.sqrt(2 * settings.radius / curvature.clamp_min(1e-30)) * solution.x
    left = float(solution.residual.norm() / gradient.norm().clamp_min(1e-30))
    indefinite = bool(solution.indefinite)
    for trial in range(settings.line_search_steps):
        candidate = point - settings.shrink**trial * full_step
        new_loss, divergence = evaluate(candidate)
        # Comparisons with nan are false, so a non-finite trial is never accepted.
        if -float("inf") < new_loss < loss and divergence <= settings.radius:
            return candidate, Report(True, loss, new_loss, start, divergence, trial + 1, indefinite, left)
    return point, Report(False, loss, loss, start, start, settings.line_search_steps, indefinite, left)
