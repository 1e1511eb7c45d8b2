"""The outer update of MAML-TRPO: a trust-region step on post-adaptation policies (Finn et al., 2017, section 5.3)."""

from torch import Tensor

from maml_rl.core.linalg import diagonal
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.trust_region import Report, TrustRegion, trust_region_step
from maml_rl.core.types import Params
from maml_rl.rl.updates.meta_surrogate import MetaProblem, require_finite

__all__ = ["meta_step"]


def meta_step(
    problem: MetaProblem, params: Params, settings: TrustRegion, probes: Tensor | None = None
) -> tuple[Params, Report]:
    """One trust-region step from `params` on a problem over their own trajectories.

    Args:
        problem: the meta-objective.
        params: the meta-parameters that sampled.
        settings: of the step.
        probes: where given, vectors [R, P] of entries -1 and 1 from which a diagonal preconditioner is estimated.

    Raises:
        FloatingPointError: a task's surrogate or the gradient is not finite; the message names the task.
        SamplerMismatchError: see `MetaProblem.linearise`.
    """
    theta = flatten(params)
    problem.linearise(theta)
    losses, divergences = problem.evaluate(theta)
    require_finite(losses)

    def evaluate(candidate: Tensor) -> tuple[float, float]:
        loss, kl = problem.evaluate(candidate)
        return float(loss.mean()), float(kl.mean())

    before = float(losses.mean()), float(divergences.mean())
    preconditioner = None if probes is None else diagonal(problem.product, probes)
    found, report = trust_region_step(
        theta, before, problem.gradient(), problem.product, evaluate, settings, preconditioner
    )
    return (unflatten(found, params) if report.accepted else params), report
