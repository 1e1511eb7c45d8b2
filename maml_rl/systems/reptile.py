"""Reptile: the initialisation moves towards the adapted policies (Nichol, Achiam and Schulman, 2018, algorithm 2)."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from maml_rl.rl.collect import Collected
from maml_rl.systems.meta_policy import MetaPolicySystem
from maml_rl.systems.meta_policy_config import InnerConfig, MetaPolicyConfig
from maml_rl.systems.settings import require

__all__ = ["Config", "OuterConfig", "Reptile"]


@dataclass(frozen=True)
class OuterConfig:
    """The meta-update.

    Attributes:
        rate: epsilon, the share of the way to the mean of the adapted parameters (Nichol et al., 2018: from 1 to 0 in
            supervised tasks).
        final_rate: where a linear schedule ends after the last iteration; the rate stays where nothing is given.
    """

    rate: float = 1.0
    final_rate: float | None = None

    def __post_init__(self) -> None:
        require("outer.rate", 0 < self.rate < math.inf, "positive and finite", self.rate)
        final = self.final_rate
        require("outer.final_rate", final is None or 0 <= final <= self.rate, f"in [0, {self.rate}]", final)


@dataclass(frozen=True)
class Config(MetaPolicyConfig):
    """Reptile on policies.

    Attributes:
        system: which system this is a configuration of.
        inner: adaptation.
        outer: the meta-update.
    """

    system: Literal["reptile"] = "reptile"
    inner: InnerConfig = field(default_factory=lambda: InnerConfig(steps=3, mode="first_order"))
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
        found = super().remarks()
        if self.inner.mode == "unrolled":
            found.append("`inner.mode` 'unrolled' has no effect: Reptile does not differentiate through adaptation.")
        return found


class Reptile(MetaPolicySystem):
    """The wiring of `MetaPolicySystem` with theta' = theta + epsilon mean_i (phi_i - theta)."""

    def update(
        self, state: dict[str, Any], collected: Collected, iteration: int
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """A part of the way to the mean of the adapted parameters."""
        reached, params, rate = collected.path[-1], state["params"], self._rate(iteration)
        wrong = [
            task
            for task in range(self.config.tasks)
            if not all(bool(leaf[task].isfinite().all()) for leaf in reached.values())
        ]
        if wrong:
            raise FloatingPointError(f"task {wrong[0]}: the adapted parameters are not finite.")
        moved = {name: leaf + rate * (reached[name].mean(0) - leaf) for name, leaf in params.items()}
        gaps = [(reached[name].mean(0) - leaf).square().sum() for name, leaf in params.items()]
        return {"params": moved}, {"meta_rate": rate, "displacement": float(torch.stack(gaps).sum().sqrt())}

    def _rate(self, iteration: int) -> float:
        outer = self.config.outer
        if outer.final_rate is None:
            return outer.rate
        share = iteration / max(self.config.iterations - 1, 1)
        return outer.rate + (outer.final_rate - outer.rate) * share
