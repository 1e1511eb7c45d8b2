"""Bilevel optimisation: adaptation paths, derivatives through them, meta-objectives and meta-optimisers.

Knows neither rewards nor labels.
"""

from maml_rl.core.adapt import adapt
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
    "GradientProblem",
    "InnerState",
    "Loss",
    "Meta",
    "MetaOptimiser",
    "Mode",
    "Objective",
    "Params",
    "Rule",
    "Schedule",
    "TrustRegion",
    "Update",
    "adapt",
    "annealed",
    "annealed_order",
    "conjugate_gradient",
    "constant",
    "cosine",
    "descent",
    "final",
    "first_order",
    "halved_after_first",
    "implicit",
    "initial_rates",
    "learned_rates",
    "linear",
    "linearise",
    "listed",
    "only",
    "proximal_sgd",
    "require_compatible",
    "sgd",
    "trust_region",
    "uniform",
    "unrolled",
    "weighted",
]
