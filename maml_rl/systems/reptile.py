"""Reptile: the initialisation moves towards the adapted policies (Nichol, Achiam and Schulman, 2018, algorithm 2)."""

import math
from dataclasses import dataclass, field
from typing import Any

from maml_rl.core.meta_optimisers import GradientProblem, descent
from maml_rl.core.schedules import constant, linear
from maml_rl.core.types import Meta
from maml_rl.rl.collect import Collected
from maml_rl.rl.policy_learner import POLICY
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.meta_policy import MetaPolicySystem
from maml_rl.systems.meta_policy_config import HALVED, MetaPolicyConfig
from maml_rl.systems.settings import require

__all__ = ["Config", "OuterConfig", "System"]


@dataclass(frozen=True)
class OuterConfig:
    """The meta-update.

    Attributes:
        learning_rate: epsilon, the share of the way to the mean of the adapted parameters (Nichol et al., 2018: from 1
            to 0 in supervised tasks).
        final_learning_rate: where a linear schedule ends at the last iteration; the rate stays where nothing is given.
    """

    learning_rate: float = 1.0
    final_learning_rate: float | None = None

    def __post_init__(self) -> None:
        rate, final = self.learning_rate, self.final_learning_rate
        require("outer.learning_rate", 0 < rate < math.inf, "positive and finite", rate)
        require("outer.final_learning_rate", final is None or 0 <= final <= rate, f"in [0, {rate}]", final)


@dataclass(frozen=True)
class Config(MetaPolicyConfig):
    """Reptile on policies.

    Attributes:
        inner: adaptation, each step with fresh trajectories.
        outer: the meta-update.
    """

    inner: InnerConfig = field(default_factory=lambda: InnerConfig(steps=3, learning_rate=HALVED, mode="first_order"))
    outer: OuterConfig = field(default_factory=OuterConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.inner.steps:
            raise ValueError("Reptile moves towards adapted policies: `inner.steps` must be at least 1, got 0.")
        if self.policy.context:
            raise ValueError("Reptile moves what adapts, and context begins at zero: set `policy.context` to 0.")
        if self.inner.learned_rates:
            raise ValueError("Reptile has no derivative in `inner.learned_rates`: leave them out.")

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = super().remarks()
        if self.inner.mode == "unrolled":
            remarks.append("`inner.mode` 'unrolled' has no effect: Reptile does not differentiate through adaptation.")
        return remarks

    def schedule_end(self) -> str | None:
        """The learning rate's schedule ends at the last iteration, if there is one."""
        return None if self.outer.final_learning_rate is None else "outer.final_learning_rate"


class System(MetaPolicySystem[Config, GradientProblem]):
    """The wiring: theta' = theta + epsilon mean_i (phi_i - theta), a descent on the displacement."""

    def __init__(self, config: Config) -> None:
        outer, final = config.outer, config.outer.final_learning_rate
        rate = outer.learning_rate
        schedule = constant(rate) if final is None else linear(rate, final, config.iterations)
        super().__init__(config, descent(schedule), lambda learner, meta, collected, iteration: _displaced(collected))


def _displaced(collected: Collected) -> GradientProblem:
    """theta - mean_i phi_i in the gradient's place."""
    reached = collected.params(-1)
    for task in range(len(next(iter(reached.values())))):
        if not all(bool(leaf[task].isfinite().all()) for leaf in reached.values()):
            raise FloatingPointError(f"task {task}: the adapted parameters are not finite.")

    def problem(meta: Meta) -> tuple[Meta, Any]:
        return {POLICY: {name: leaf - reached[name].mean(0) for name, leaf in meta[POLICY].items()}}, ()

    return problem
