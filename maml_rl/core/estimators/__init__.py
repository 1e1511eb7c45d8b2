"""Meta-gradients of lifetimes longer than memory: unrolled, truncated, by evolution, bootstrapped, by a trace."""

from maml_rl.core.estimators.bootstrapped import bootstrapped
from maml_rl.core.estimators.decayed_trace import decayed_trace
from maml_rl.core.estimators.evolution import evolution_strategies, persistent_evolution_strategies
from maml_rl.core.estimators.problem import Carry, Estimate, Estimator, Lifetimes, Problem, weighed
from maml_rl.core.estimators.seeded import seeded_normal, seeded_uniform
from maml_rl.core.estimators.segments import present
from maml_rl.core.estimators.unrolled import full_unroll, truncated_unroll

__all__ = [
    "Carry",
    "Estimate",
    "Estimator",
    "Lifetimes",
    "Problem",
    "bootstrapped",
    "decayed_trace",
    "evolution_strategies",
    "full_unroll",
    "persistent_evolution_strategies",
    "present",
    "seeded_normal",
    "seeded_uniform",
    "truncated_unroll",
    "weighed",
]
