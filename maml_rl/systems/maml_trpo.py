"""MAML-TRPO: REINFORCE adapts to each task, a trust-region step moves the initialisation (Finn et al., 2017)."""

from dataclasses import dataclass, field

from maml_rl.core.trust_region import Linearisable, TrustRegion, trust_region
from maml_rl.core.types import Meta
from maml_rl.rl.collect import Collected
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.systems.meta_policy import MetaPolicySystem, meta_surrogate
from maml_rl.systems.meta_policy_config import ObjectiveConfig, SurrogateConfig
from maml_rl.systems.settings import require

__all__ = ["Config", "OuterConfig", "System"]


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
            public codes: 1); of the episodes with `estimator.loss` "dice", which takes them whole.
    """

    max_kl: float = 0.01
    cg_iterations: int = 10
    damping: float = 1e-5
    line_search_steps: int = 15
    line_search_shrink: float = 0.8
    curvature_share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("outer.max_kl", 0 < self.max_kl < float("inf"), "positive and finite", self.max_kl)
        require("outer.damping", 0 <= self.damping < float("inf"), "finite and at least 0", self.damping)
        require("outer.curvature_share", 0 < self.curvature_share <= 1, "in (0, 1]", self.curvature_share)
        require("outer.line_search_shrink", 0 < self.line_search_shrink < 1, "in (0, 1)", self.line_search_shrink)
        for name in ("cg_iterations", "line_search_steps"):
            require(f"outer.{name}", getattr(self, name) > 0, "at least 1", getattr(self, name))


@dataclass(frozen=True)
class Config(SurrogateConfig):
    """MAML-TRPO. The defaults are Finn et al. (2017) on 2D navigation.

    Attributes:
        outer: the meta-update.
    """

    outer: OuterConfig = field(default_factory=OuterConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.takes_whole_episodes and self.episodes < round(1 / self.outer.curvature_share):
            raise ValueError(
                f"`outer.curvature_share` {self.outer.curvature_share} of {self.episodes} episodes leaves none: "
                f"`estimator.loss` {self.estimator.loss!r} takes whole ones."
            )

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        share = self.outer.curvature_share
        rounded = [f"`outer.curvature_share` {share} takes all samples: it is 1 / n of them, n a whole number."]
        return super().remarks() + (rounded if share < 1 and round(1 / share) == 1 else [])


class System(MetaPolicySystem[Config, Linearisable]):
    """The wiring: a trust-region step on the surrogate of adapted policies."""

    def __init__(self, config: Config) -> None:
        outer = config.outer
        settings = TrustRegion(
            outer.max_kl, outer.cg_iterations, outer.damping, outer.line_search_steps, outer.line_search_shrink
        )

        def problem(learner: PolicyLearner, meta: Meta, collected: Collected, iteration: int) -> Linearisable:
            share = outer.curvature_share
            return meta_surrogate(config, learner, meta, collected, iteration, curvature_share=share)

        super().__init__(config, trust_region(settings), problem)
