"""Bilevel optimisation: adaptation paths, derivatives through them, meta-objectives and meta-optimisers.

Knows neither rewards nor labels.
"""

from maml_rl.core.adapt import adapt
from maml_rl.core.linalg import conjugate_gradient, linearise
from maml_rl.core.modes import Mode, first_order, unrolled
from maml_rl.core.objectives import Objective, final, uniform, weighted
from maml_rl.core.rules import constant, halved_after_first, listed, sgd
from maml_rl.core.trust_region import TrustRegion, trust_region_step
from maml_rl.core.types import InnerState, Loss, Params, Rule

__all__ = [
    "InnerState",
    "Loss",
    "Mode",
    "Objective",
    "Params",
    "Rule",
    "TrustRegion",
    "adapt",
    "conjugate_gradient",
    "constant",
    "final",
    "first_order",
    "halved_after_first",
    "linearise",
    "listed",
    "sgd",
    "trust_region_step",
    "uniform",
    "unrolled",
    "weighted",
]
