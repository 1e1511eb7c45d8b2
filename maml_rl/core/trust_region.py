"""A meta-optimiser: the trust-region step (Schulman et al., 2015, appendix C)."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from maml_rl.core.linalg import conjugate_gradient
from maml_rl.core.meta_optimisers import MetaOptimiser, Update
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Meta

__all__ = ["Linearisable", "Linearised", "Report", "TrustRegion", "trust_region", "trust_region_step"]


class Linearised(Protocol):
    """A loss and a divergence around the flat meta-parameters theta, [P], where the divergence is zero."""

    @property
    def before(self) -> tuple[float, float]:
        """Loss and divergence at theta."""

    def gradient(self) -> Tensor:
        """The loss's gradient at theta, [P]."""

    def product(self, vector: Tensor) -> Tensor:
        """The divergence's curvature at theta times a vector, [P]."""

    def values(self, candidate: Tensor) -> tuple[float, float]:
        """Loss and divergence elsewhere."""


class Linearisable(Protocol):
    """A problem that a trust region can be laid around."""

    def linearise(self, theta: Tensor) -> Linearised:
        """The problem around theta, [P].

        Raises:
            FloatingPointError: its loss there is not finite.
        """


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


def trust_region(settings: TrustRegion) -> MetaOptimiser[Linearisable]:
    """A step of `trust_region_step` on the flat meta-parameters; the same ones where no length was accepted."""

    def update(meta: Meta, memory: Any, problem: Linearisable, iteration: int) -> Update:
        theta = flatten(meta)
        local = problem.linearise(theta)
        reached, report = trust_region_step(
            theta, local.before, local.gradient(), local.product, local.values, settings
        )
        metrics = {
            "surrogate_before": report.loss_before,
            "surrogate_after": report.loss_after,
            "kl_before": report.divergence_before,
            "kl_after": report.divergence_after,
            "line_search_steps": float(report.tried),
            "line_search_rejected": float(not report.accepted),
            "curvature_indefinite": float(report.indefinite),
            "cg_residual": report.residual,
        }
        return Update(unflatten(reached, meta) if report.accepted else meta, memory, metrics)

    return MetaOptimiser("trust_region", lambda meta: {}, update)


def trust_region_step(
    point: Tensor,
    before: tuple[float, float],
    gradient: Tensor,
    product: Callable[[Tensor], Tensor],
    evaluate: Callable[[Tensor], tuple[float, float]],
    settings: TrustRegion,
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
