"""MAML-TRPO: REINFORCE adapts to each task, a trust-region step moves the initialisation (Finn et al., 2017)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from maml_rl.core.trust_region import TrustRegion
from maml_rl.rl.collect import Collected
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.updates.trpo import meta_step
from maml_rl.systems.meta_policy import MetaPolicySystem
from maml_rl.systems.meta_policy_config import InnerConfig, MetaPolicyConfig, ObjectiveConfig
from maml_rl.systems.settings import require

__all__ = ["Config", "InnerConfig", "MAMLTRPO", "OuterConfig"]


@dataclass(frozen=True)
class OuterConfig(ObjectiveConfig):
    """The meta-update.

    Attributes:
        max_kl: largest divergence of the adapted policies in one meta-update (both public codes: 0.01).
        cg_iterations: of conjugate gradient (both public codes: 10).
        damping: added to the curvature (both public codes: 1e-5).
        line_search_steps: lengths tried (both public codes: 15).
        line_search_shrink: ratio of a tried length to the one before (both public codes: 0.8).
        curvature_share: of the samples that the curvature is estimated from, one in n, n the nearest whole number (both
            public codes: 1); of the episodes with `inner.loss` "dice", which takes them whole.
        preconditioner_probes: curvature products spent on a diagonal preconditioner of conjugate gradient; 0 for none.
    """

    max_kl: float = 0.01
    cg_iterations: int = 10
    damping: float = 1e-5
    line_search_steps: int = 15
    line_search_shrink: float = 0.8
    curvature_share: float = 1.0
    preconditioner_probes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("outer.max_kl", 0 < self.max_kl < float("inf"), "positive and finite", self.max_kl)
        require("outer.damping", 0 <= self.damping < float("inf"), "finite and at least 0", self.damping)
        require("outer.curvature_share", 0 < self.curvature_share <= 1, "in (0, 1]", self.curvature_share)
        require("outer.line_search_shrink", 0 < self.line_search_shrink < 1, "in (0, 1)", self.line_search_shrink)
        for name, least in (("cg_iterations", 1), ("line_search_steps", 1), ("preconditioner_probes", 0)):
            require(f"outer.{name}", getattr(self, name) >= least, f"at least {least}", getattr(self, name))


@dataclass(frozen=True)
class Config(MetaPolicyConfig):
    """MAML-TRPO. The defaults are Finn et al. (2017) on 2D navigation.

    Attributes:
        system: which system this is a configuration of.
        outer: the meta-update.
    """

    system: Literal["maml_trpo"] = "maml_trpo"
    outer: OuterConfig = field(default_factory=OuterConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episodes < self.fewest_episodes():
            raise ValueError(
                f"`outer.curvature_share` {self.outer.curvature_share} of {self.episodes} episodes leaves none: "
                f"`inner.loss` {self.inner.loss!r} takes whole ones."
            )

    def fewest_episodes(self) -> int:
        """One, or as many as leave one for the curvature where it takes whole episodes."""
        whole = self.inner.steps > 0 and INNER_LOSSES[self.inner.loss].whole_episodes
        return round(1 / self.outer.curvature_share) if whole else 1

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        share = self.outer.curvature_share
        rounded = [f"`outer.curvature_share` {share} takes all samples: it is 1 / n of them, n a whole number."]
        return super().remarks() + (rounded if share < 1 and round(1 / share) == 1 else [])


class MAMLTRPO(MetaPolicySystem):
    """The wiring of `MetaPolicySystem` with a trust-region step."""

    def update(
        self, state: dict[str, Any], collected: Collected, iteration: int
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """One trust-region step; the same parameters where no length was accepted."""
        outer, params = self.config.outer, state["params"]
        problem = self.problem(params, collected, iteration, curvature_share=outer.curvature_share)
        settings = TrustRegion(
            outer.max_kl, outer.cg_iterations, outer.damping, outer.line_search_steps, outer.line_search_shrink
        )
        count = outer.preconditioner_probes
        found, report = meta_step(problem, params, settings, self.probes(params, count, iteration) if count else None)
        return {"params": found}, {
            "surrogate_before": report.loss_before,
            "surrogate_after": report.loss_after,
            "kl_before": report.divergence_before,
            "kl_after": report.divergence_after,
            "line_search_steps": float(report.tried),
            "line_search_rejected": float(not report.accepted),
            "curvature_indefinite": float(report.indefinite),
            "cg_residual": report.residual,
        }
