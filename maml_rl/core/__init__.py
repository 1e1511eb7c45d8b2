"""Bilevel optimisation: adaptation paths, derivatives through them, meta-objectives and meta-optimisers.

Knows neither rewards nor labels.
"""

from maml_rl.core.adapt import adapt
from maml_rl.core.estimators import (
    Estimate,
    Estimator,
    Lifetimes,
    Problem,
    bootstrapped,
    evolution_strategies,
    full_unroll,
    persistent_evolution_strategies,
    truncated_unroll,
)
from maml_rl.core.implicit import implicit
from maml_rl.core.linalg import conjugate_gradient, linearise
from maml_rl.core.meta_optimisers import GradientProblem, MetaOptimiser, Update, descent
from maml_rl.core.modes import Mode, annealed_order, first_order, require_compatible, unrolled
from maml_rl.core.objectives import Objective, annealed, final, uniform, weighted
from maml_rl.core.rules import initial_rates, learned_rates, only, proximal_sgd, sgd
from maml_rl.core.schedules import Schedule, constant, cosine, halved_after_first, linear, listed
from maml_rl.core.trust_region import TrustRegion, trust_region
from maml_rl.core.types import InnerState, Loss, Meta, Params, Rule

__all__ = [
    "Estimate",
    "Estimator",
    "GradientProblem",
    "InnerState",
    "Lifetimes",
    "Loss",
    "Meta",
    "MetaOptimiser",
    "Mode",
    "Objective",
    "Params",
    "Problem",
    "Rule",
    "Schedule",
    "TrustRegion",
    "Update",
    "adapt",
    "annealed",
    "annealed_order",
    "bootstrapped",
    "conjugate_gradient",
    "constant",
    "cosine",
    "descent",
    "evolution_strategies",
    "final",
    "first_order",
    "full_unroll",
    "halved_after_first",
    "implicit",
    "initial_rates",
    "learned_rates",
    "linear",
    "linearise",
    "listed",
    "only",
    "persistent_evolution_strategies",
    "proximal_sgd",
    "require_compatible",
    "sgd",
    "truncated_unroll",
    "trust_region",
    "uniform",
    "unrolled",
    "weighted",
]
