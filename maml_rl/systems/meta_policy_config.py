"""What configurations of meta-reinforcement learning share."""

from dataclasses import dataclass, field
from typing import Literal

from maml_rl.core.objectives import Objective
from maml_rl.rl.estimation import EstimatorConfig
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policies import CONTEXT, PolicyConfig
from maml_rl.systems.inner import FirstThen, InnerConfig, moves
from maml_rl.systems.policy_system import PolicyRunConfig
from maml_rl.systems.settings import changed_in_vain, objective_at, require, require_objective, require_weights

__all__ = ["HALVED", "MetaPolicyConfig", "ObjectiveConfig", "SurrogateConfig"]

HALVED = FirstThen(0.1, 0.05)
"""The inner learning rate of Finn et al. (2017, A.2)."""


@dataclass(frozen=True)
class MetaPolicyConfig(PolicyRunConfig):
    """Meta-reinforcement learning with inner steps. The defaults are Finn et al. (2017) on 2D navigation.

    Attributes:
        policy: the policy network.
        inner: adaptation, each step with fresh trajectories (Finn et al., 2017: one step, 0.1 and then 0.05).
        estimator: advantages and the inner policy gradient.
        episodes: E, episodes per task and inner step (Finn et al., 2017: 20; 40 for ant forward/backward).
        start: a model saved by Stable-Baselines3 (PPO or A2C, MLP policy) whose policy is the initialisation; random
            weights where nothing is given.
    """

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    inner: InnerConfig = field(default_factory=lambda: InnerConfig(learning_rate=HALVED))
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    episodes: int = 20
    start: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require("episodes", self.episodes > 0, "at least 1", self.episodes)
        if self.inner.mode == "implicit":
            raise ValueError("`inner.mode` 'implicit' is for supervised tasks; choose 'unrolled' or 'first_order'.")
        if self.inner.adapts == "context" and not self.policy.context:
            raise ValueError("`inner.adapts` 'context' needs context parameters: set `policy.context`.")

    @property
    def is_oracle(self) -> bool:
        """Whether the policy sees its task and was trained without adapting: gradient steps would only spoil it."""
        return self.environment.show_task and not self.inner.steps

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = [*super().remarks(), *self.inner.remarks()]
        if self.start is not None:
            remarks += changed_in_vain("policy", self.policy, ("initial_std", "output_scale"), "a policy of `start`")
        if self.policy.context and not (self.inner.steps and moves(self.inner, lambda name: False)(CONTEXT)):
            remarks.append(f"`policy.context` {self.policy.context} has no effect: no inner step moves it from zero.")
        if self.inner.mode == "first_order" or not self.inner.steps:
            chosen = "`inner.mode` 'first_order'" if self.inner.steps else "`inner.steps` 0"
            remarks += changed_in_vain("estimator", self.estimator, ("loss",), chosen)
        return remarks


@dataclass(frozen=True)
class ObjectiveConfig:
    """What every meta-update on the surrogate counts.

    Attributes:
        objective: "final" counts the policy after the last inner step (Finn et al., 2017), "uniform" those after each
            step alike, "annealed" moves from uniform to final (Antoniou et al., 2018); a list weighs all steps + 1
            points.
        annealing_iterations: E of the annealed objective: final from iteration E on.
        sampling_credit: how much of what the inner samples owe to the policies that drew them is added (E-MAML, Stadie
            et al., 2018): 1 is the exact gradient's share, a sum over all samples whose variance is large; 1 / (E T),
            their mean, is what Rothfuss et al. (2019, code) take; 0 for none.
        chunk: tasks differentiated together; small chunks stay in the processor's cache, a GPU wants all tasks.
    """

    objective: Literal["final", "uniform", "annealed"] | list[float] = "final"
    annealing_iterations: int = 100
    sampling_credit: float = 0.0
    chunk: int = 5

    def __post_init__(self) -> None:
        require_weights(self.objective)
        require("outer.annealing_iterations", self.annealing_iterations >= 0, "at least 0", self.annealing_iterations)
        require("outer.chunk", self.chunk > 0, "at least 1", self.chunk)
        credit = self.sampling_credit
        require("outer.sampling_credit", 0 <= credit <= 1, "in [0, 1]", credit)

    def objective_at(self, iteration: int) -> Objective:
        """The meta-objective in an iteration."""
        return objective_at(self.objective, iteration, self.annealing_iterations)


@dataclass(frozen=True)
class SurrogateConfig(MetaPolicyConfig):
    """Systems that move on the surrogate of adapted policies.

    Attributes:
        outer: the meta-update.
    """

    outer: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        outer = self.outer
        require_objective(outer.objective, outer.annealing_iterations, self.inner.steps)
        if not outer.sampling_credit:
            return
        if not self.inner.steps:
            raise ValueError("`outer.sampling_credit` is for the samples of inner steps, got `inner.steps` 0.")
        if outer.objective != "final":
            raise ValueError(
                "`outer.sampling_credit` is what the last point of adaptation owes to the inner samples: "
                f"`outer.objective` must be 'final', got {outer.objective!r}."
            )
        if self.tasks < 2:
            raise ValueError("`outer.sampling_credit` compares tasks and needs at least 2, got `tasks` 1.")

    @property
    def takes_whole_episodes(self) -> bool:
        """Whether the inner loss ties the samples of an episode together."""
        return self.inner.steps > 0 and INNER_LOSSES[self.estimator.loss].whole_episodes

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = super().remarks()
        if self.outer.objective != "annealed":
            chosen = f"`outer.objective` {self.outer.objective!r}"
            remarks += changed_in_vain("outer", self.outer, ("annealing_iterations",), chosen)
        return remarks
