"""ProMP, MAML-PPO and the plain meta policy gradient: Adam outside (Rothfuss et al., 2019; Schulman et al., 2017)."""

import math
from dataclasses import dataclass, field

from maml_rl.core.schedules import constant
from maml_rl.core.types import Meta
from maml_rl.rl.collect import Collected
from maml_rl.rl.estimation import EstimatorConfig
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.updates.clipped_surrogate import ClippedSettings, clipped_epochs
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from maml_rl.systems.meta_policy import MetaPolicySystem, meta_surrogate
from maml_rl.systems.meta_policy_config import ObjectiveConfig, SurrogateConfig
from maml_rl.systems.settings import changed_in_vain, require

__all__ = ["Config", "OuterConfig", "System"]


@dataclass(frozen=True)
class OuterConfig(ObjectiveConfig):
    """The meta-update.

    Attributes:
        learning_rate: of Adam (Rothfuss et al., 2019, code: 1e-3).
        epochs: steps of Adam on the same data (Rothfuss et al., 2019, code: 5). 1, without clip and penalty, is the
            plain meta policy gradient.
        clip: how far from 1 the likelihood ratio of the adapted policies counts (Rothfuss et al., 2019, code: 0.3;
            Schulman et al., 2017: 0.2); no bound where nothing is given.
        kl_penalty: eta of the divergence from each policy that sampled for an inner step (Rothfuss et al., 2019, code:
            5e-4); 0 for none.
        kl_target: where given, the eta of each inner step is doubled or halved after an iteration to keep the
            divergence near it (Rothfuss et al., 2019, code: 0.01 where adaptive).
    """

    learning_rate: float = 1e-3
    epochs: int = 5
    clip: float | None = 0.3
    kl_penalty: float = 5e-4
    kl_target: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        rate, target = self.learning_rate, self.kl_target
        require("outer.learning_rate", 0 < rate < math.inf, "positive and finite", rate)
        require("outer.epochs", self.epochs > 0, "at least 1", self.epochs)
        require("outer.clip", self.clip is None or 0 < self.clip < math.inf, "positive and finite", self.clip)
        require("outer.kl_penalty", 0 <= self.kl_penalty < math.inf, "finite and at least 0", self.kl_penalty)
        require("outer.kl_target", target is None or 0 < target < math.inf, "positive and finite", target)
        if target is not None and not self.kl_penalty:
            raise ValueError("`outer.kl_target` moves `outer.kl_penalty`, which is 0: give it a value to start from.")


@dataclass(frozen=True)
class Config(SurrogateConfig):
    """ProMP. The defaults are Finn et al. (2017) on 2D navigation with the outer update of Rothfuss et al. (2019).

    Attributes:
        estimator: advantages and the inner policy gradient (Rothfuss et al., 2019: "likelihood_ratio").
        outer: the meta-update.
    """

    estimator: EstimatorConfig = field(default_factory=lambda: EstimatorConfig(loss="likelihood_ratio"))
    outer: OuterConfig = field(default_factory=OuterConfig)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = super().remarks()
        if not self.inner.steps:
            remarks += changed_in_vain("outer", self.outer, ("kl_target",), "`inner.steps` 0")
        return remarks


class System(MetaPolicySystem[Config, MetaSurrogate]):
    """The wiring: epochs of Adam on the clipped surrogate of adapted policies."""

    def __init__(self, config: Config) -> None:
        outer, steps = config.outer, config.inner.steps
        clip = math.inf if outer.clip is None else outer.clip
        settings = ClippedSettings(outer.epochs, clip, outer.kl_penalty, outer.kl_target)

        def problem(learner: PolicyLearner, meta: Meta, collected: Collected, iteration: int) -> MetaSurrogate:
            return meta_surrogate(config, learner, meta, collected, iteration, watch=True)

        super().__init__(config, clipped_epochs(constant(outer.learning_rate), settings, steps), problem)
