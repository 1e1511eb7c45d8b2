"""Bilevel optimisation: adaptation paths, derivatives through them, meta-objectives and meta-optimisers.

Knows neither rewards nor labels.
"""

from maml_rl.core.adapt import adapt
from maml_rl.core.implicit import implicit
from maml_rl.core.linalg import conjugate_gradient, diagonal, linearise
from maml_rl.core.modes import Mode, annealed_order, first_order, require_compatible, unrolled
from maml_rl.core.objectives import Objective, annealed, final, uniform, weighted
from maml_rl.core.optimisers import AdamState, adam_start, adam_step, cosine
from maml_rl.core.rules import (
    constant,
    halved_after_first,
    initial_rates,
    learned_rates,
    listed,
    only,
    proximal_sgd,
    sgd,
)
from maml_rl.core.trust_region import TrustRegion, trust_region_step
from maml_rl.core.types import InnerState, Loss, Params, Rule

__all__ = [
    "AdamState",
    "InnerState",
    "Loss",
    "Mode",
    "Objective",
    "Params",
    "Rule",
    "TrustRegion",
    "adam_start",
    "adam_step",
    "adapt",
    "annealed",
    "annealed_order",
    "conjugate_gradient",
    "constant",
    "cosine",
    "diagonal",
    "final",
    "first_order",
    "halved_after_first",
    "implicit",
    "initial_rates",
    "learned_rates",
    "linearise",
    "listed",
    "only",
    "proximal_sgd",
    "require_compatible",
    "sgd",
    "trust_region_step",
    "uniform",
    "unrolled",
    "weighted",
]
