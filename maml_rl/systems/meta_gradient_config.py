"""What a run of meta-gradient reinforcement learning is told: the learner, its hyper-parameters, and how they move."""

from dataclasses import dataclass, field, fields
from typing import Literal

from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.online.actor_critic import CriticConfig
from maml_rl.rl.online.hyperparameters import HyperparameterConfig, require_form, settings_of
from maml_rl.rl.online.learner import LearnerConfig, MetaLossConfig
from maml_rl.rl.policies import PolicyConfig
from maml_rl.systems.settings import changed_in_vain, objective_at, require
from maml_rl.systems.system import RunConfig

__all__ = ["HYPERPARAMETERS", "Config", "MetaConfig"]

HYPERPARAMETERS = ("gamma", "gae_lambda", "entropy_weight", "learning_rate")
"""In the order of `OwnParameters`; each is an option of the configuration."""


@dataclass(frozen=True)
class MetaConfig:
    """How hyper-parameters are learned.

    Attributes:
        estimator: of the meta-gradient. "unrolled" differentiates the meta-loss of all rollouts of a window through the
            updates between them; "trace" sees all earlier updates by a decaying trace (Xu et al., 2018); "bootstrapped"
            leads to where the learner gets further on (Flennerhag et al., 2021).
        rollouts: of a window, K; "bootstrapped" takes `target_rollouts` more. 2 of "unrolled" are one update, and the
            next sample to judge it by.
        decay: mu of "trace"; 0 sees the last update alone.
        target_rollouts: of "bootstrapped", L further updates to the target.
        objective: which updates of an "unrolled" window count: "uniform" judges the learner after each of them alike,
            "final" after the last one alone; "annealed" goes from the one to the other (Antoniou et al., 2018).
        annealing: iterations that "annealed" takes.
        learning_rate: Adam's, of the meta-parameters.
        loss: what they are learned for.
    """

    estimator: Literal["unrolled", "trace", "bootstrapped"] = "unrolled"
    rollouts: int = 2
    decay: float = 0.0
    target_rollouts: int = 9
    objective: Literal["final", "uniform", "annealed"] = "uniform"
    annealing: int = 1000
    learning_rate: float = 1e-3
    loss: MetaLossConfig = field(default_factory=MetaLossConfig)

    def __post_init__(self) -> None:
        least = 2 if self.estimator == "unrolled" else 1
        expected = f"at least {least} with `meta.estimator` {self.estimator!r}"
        require("meta.rollouts", self.rollouts >= least, expected, self.rollouts)
        require("meta.target_rollouts", self.target_rollouts > 0, "at least 1", self.target_rollouts)
        require("meta.annealing", self.annealing > 0, "at least 1", self.annealing)
        require("meta.decay", 0 <= self.decay <= 1, "in [0, 1]", self.decay)
        rate = self.learning_rate
        require("meta.learning_rate", 0 <= rate < float("inf"), "finite and at least 0", rate)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = []
        for option, estimator in (("decay", "trace"), ("target_rollouts", "bootstrapped"), ("objective", "unrolled")):
            if self.estimator != estimator:
                remarks += changed_in_vain("meta", self, (option,), f"`meta.estimator` {self.estimator!r}")
        if self.objective != "annealed":
            remarks += changed_in_vain("meta", self, ("annealing",), f"`meta.objective` {self.objective!r}")
        return remarks

    def weights(self, iteration: int) -> list[float]:
        """Of the meta-losses of a window's rollouts, with mean 1; the first is before any update of the window."""
        points = objective_at(self.objective, iteration, self.annealing).points(self.rollouts - 1)
        of_steps = {point.step: point.weight for point in points}
        return [self.rollouts * of_steps.get(step, 0.0) for step in range(self.rollouts)]


@dataclass(frozen=True)
class Config(RunConfig):
    """Meta-gradient reinforcement learning. An iteration is a window of rollouts and one meta-update.

    Attributes:
        environment: where the agents live; each lifetime has a task that it keeps.
        seeds: lifetimes of each setting, side by side. Settings are the combinations of initial values.
        environments: E, of each lifetime.
        rollout: T, steps of each environment between two updates.
        policy: the actor.
        critic: the network of values.
        learner: how the actor and the critic move.
        gamma: the discount, of the states that steps lead to.
        gae_lambda: lambda of the returns, of the states that steps lead to.
        entropy_weight: of the policy's entropy in the learner's loss.
        learning_rate: of the learner.
        memory: rollouts whose mean rewards a hyper-parameter learned from "rewards" sees (Flennerhag et al., 2021: 10).
        meta: how hyper-parameters are learned.
        loss_limit: a lifetime with a meta-loss beyond it, above or below zero, counts as diverged and begins anew, as
            does one that is not finite.
        traced: records the operations of a meta-update once and replays them: the same numbers, sooner.
        compiled: compiles acting, stepping, learning and its derivative in a minute, for few lifetimes. It needs a C++
            compiler and an environment whose steps are functions of tensors and whose episodes never end,
            such as envs:TwoColours-v0. Compiled operations may round otherwise.
        report_every: iterations that share a row of metrics and a checkpoint.
    """

    environment: EnvironmentConfig = field(default_factory=lambda: EnvironmentConfig("envs:TwoColours-v0"))
    seeds: int = 5
    environments: int = 1
    rollout: int = 16
    policy: PolicyConfig = field(default_factory=lambda: PolicyConfig([64, 64]))
    critic: CriticConfig = field(default_factory=CriticConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    gamma: HyperparameterConfig = field(default_factory=lambda: HyperparameterConfig(0.99))
    gae_lambda: HyperparameterConfig = field(default_factory=lambda: HyperparameterConfig(0.0))
    entropy_weight: HyperparameterConfig = field(default_factory=lambda: HyperparameterConfig(0.3))
    learning_rate: HyperparameterConfig = field(default_factory=lambda: HyperparameterConfig(0.1))
    memory: int = 10
    meta: MetaConfig = field(default_factory=MetaConfig)
    loss_limit: float = float("inf")
    traced: bool = True
    compiled: bool = False
    report_every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("seeds", "environments", "rollout", "memory", "report_every"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        require("loss_limit", self.loss_limit > 0, "positive", self.loss_limit)
        if self.policy.context:
            raise ValueError("`policy.context` is for policies that adapt to a task; learners here have none.")
        for name, own in self.hyperparameters.items():
            own.require(name)
        for name in ("gamma", "gae_lambda"):
            values = getattr(self, name).values
            require(f"{name}.initial", max(values) <= 1, "at most 1", getattr(self, name).initial)
            require(f"{name}.limit", getattr(self, name).limit <= 1, "at most 1", getattr(self, name).limit)
        require_form("learning_rate", self.learning_rate, ("no", "one", "rewards"))
        if self.rollout == 1 and self.gae_lambda.learned != "no":
            raise ValueError("`gae_lambda.learned`: a rollout of one step has no returns for lambda to mix.")

    @property
    def hyperparameters(self) -> dict[str, HyperparameterConfig]:
        """Their configurations by name."""
        return {name: getattr(self, name) for name in HYPERPARAMETERS}

    @property
    def learned(self) -> list[str]:
        """Which are learned."""
        return [name for name, config in self.hyperparameters.items() if config.learned != "no"]

    @property
    def settings(self) -> list[dict[str, float]]:
        """The combinations of initial values."""
        return settings_of(self.hyperparameters)

    def require_prediction(self) -> None:
        """Raises `ValueError` where a hyper-parameter is learned from a loss that is always 0 with one action only."""
        one, learned = f"{self.environment.id} has one action only", self.learned
        if learned and not self.meta.loss.value_weight:
            raise ValueError(
                f"`meta.loss.value_weight` is 0, and {one}, so the loss that `{learned[0]}` is learned from is always "
                "0. Set it to 1."
            )
        if "entropy_weight" in learned:
            raise ValueError(f"`entropy_weight.learned`: {one}, so there is no entropy.")

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = [] if self.learned else ["nothing is learned about the learner: no hyper-parameter is `learned`."]
        for name, own in self.hyperparameters.items():
            unused = () if own.learned not in ("no", "one", "table") else ("hidden",)
            unused = (*unused, "limit") if own.learned == "no" else unused
            remarks += changed_in_vain(name, own, unused, f"`{name}.learned` {own.learned!r}")
        if self.critic.table:
            remarks += changed_in_vain("critic", self.critic, ("hidden", "activation"), "`critic.table`")
        if not any(config.learned == "rewards" for config in self.hyperparameters.values()):
            chosen = "no hyper-parameter learned from 'rewards'"
            remarks += [each.replace("`.", "`") for each in changed_in_vain("", self, ("memory",), chosen)]
        if self.learned:
            return remarks + self.meta.remarks()
        nothing = "no hyper-parameter that is learned"
        parts = [option.name for option in fields(self.meta) if option.name != "rollouts"]
        of_losses = [each.replace("`.", "`") for each in changed_in_vain("", self, ("loss_limit",), nothing)]
        return remarks + of_losses + changed_in_vain("meta", self.meta, parts, nothing)
