"""ProMP, MAML-PPO and the plain meta policy gradient: Adam outside (Rothfuss et al., 2019; Schulman et al., 2017)."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from maml_rl.core.optimisers import adam_start
from maml_rl.core.types import Params
from maml_rl.rl.collect import Collected
from maml_rl.rl.updates.clipped_surrogate import ClippedSettings, clipped_step, next_penalties
from maml_rl.systems.meta_policy import MetaPolicySystem
from maml_rl.systems.meta_policy_config import InnerConfig, MetaPolicyConfig, ObjectiveConfig
from maml_rl.systems.settings import changed_in_vain, require

__all__ = ["Config", "OuterConfig", "ProMP"]


@dataclass(frozen=True)
class OuterConfig(ObjectiveConfig):
    """The meta-update.

    Attributes:
        rate: of Adam (Rothfuss et al., 2019, code: 1e-3).
        epochs: steps of Adam on the same data (Rothfuss et al., 2019, code: 5). 1, without clip and penalty, is the
            plain meta policy gradient.
        clip: how far from 1 the likelihood ratio of the adapted policies counts (Rothfuss et al., 2019, code: 0.3;
            Schulman et al., 2017: 0.2); no bound where nothing is given.
        kl_penalty: eta of the divergence from each policy that sampled for an inner step (Rothfuss et al., 2019, code:
            5e-4); 0 for none.
        kl_target: where given, the eta of each inner step is doubled or halved after an iteration to keep the
            divergence near it (Rothfuss et al., 2019, code: 0.01 where adaptive).
    """

    rate: float = 1e-3
    epochs: int = 5
    clip: float | None = 0.3
    kl_penalty: float = 5e-4
    kl_target: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require("outer.rate", 0 < self.rate < math.inf, "positive and finite", self.rate)
        require("outer.epochs", self.epochs > 0, "at least 1", self.epochs)
        require("outer.clip", self.clip is None or 0 < self.clip < math.inf, "positive and finite", self.clip)
        require("outer.kl_penalty", 0 <= self.kl_penalty < math.inf, "finite and at least 0", self.kl_penalty)
        target = self.kl_target
        require("outer.kl_target", target is None or 0 < target < math.inf, "positive and finite", target)
        if target is not None and not self.kl_penalty:
            raise ValueError("`outer.kl_target` moves `outer.kl_penalty`, which is 0: give it a value to start from.")


@dataclass(frozen=True)
class Config(MetaPolicyConfig):
    """ProMP. The defaults are Finn et al. (2017) on 2D navigation with the outer update of Rothfuss et al. (2019).

    Attributes:
        system: which system this is a configuration of.
        inner: adaptation.
        outer: the meta-update.
    """

    system: Literal["promp"] = "promp"
    inner: InnerConfig = field(default_factory=lambda: InnerConfig(loss="likelihood_ratio"))
    outer: OuterConfig = field(default_factory=OuterConfig)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        found = super().remarks()
        if not self.inner.steps:
            found += changed_in_vain("outer", self.outer, ("kl_target",), "`inner.steps` 0")
        return found


class ProMP(MetaPolicySystem):
    """The wiring of `MetaPolicySystem` with Adam on the clipped surrogate; the state has its moments and penalties."""

    def initial_memory(self, params: Params) -> dict[str, Any]:
        """Adam's moments, and the penalty of each inner step, [K]."""
        return {"adam": adam_start(params), "penalties": self._penalties()}

    def update(
        self, state: dict[str, Any], collected: Collected, iteration: int
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """Some epochs of Adam, then the penalties' own step."""
        outer, steps = self.config.outer, self.config.inner.steps
        problem = self.problem(state["params"], collected, iteration, watch=True)
        settings = ClippedSettings(outer.rate, outer.epochs, math.inf if outer.clip is None else outer.clip)
        params, adam, report = clipped_step(problem, state["params"], state["adam"], state["penalties"], settings)
        penalties = state["penalties"]
        if outer.kl_target is not None:
            penalties = next_penalties(penalties, report.divergences, outer.kl_target)
        return {"params": params, "adam": adam, "penalties": penalties}, {
            "surrogate_before": report.loss_before,
            "surrogate_after": report.loss_after,
            "kl_after": report.divergences[steps],
            **{f"kl_step_{step}": report.divergences[step] for step in range(steps)},
            **{f"kl_penalty_step_{step}": float(state["penalties"][step]) for step in range(steps)},
        }

    def _penalties(self) -> torch.Tensor:
        return torch.full((self.config.inner.steps,), self.config.outer.kl_penalty, dtype=torch.float64)
