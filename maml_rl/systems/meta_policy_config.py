"""What configurations of meta-reinforcement learning share, and the rule, mode and objective that they describe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from maml_rl.core.modes import Mode, first_order, unrolled
from maml_rl.core.objectives import Objective, annealed
from maml_rl.core.rules import halved_after_first, learned_rates, listed, only, sgd
from maml_rl.core.rules.sgd import Schedule
from maml_rl.core.types import Rule
from maml_rl.rl.collect import EstimatorConfig
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import CONTEXT, Policy, PolicyConfig
from maml_rl.systems.settings import changed_in_vain, objective_of, require

__all__ = [
    "InnerConfig",
    "MetaPolicyConfig",
    "ObjectiveConfig",
    "adapts",
    "mode_of",
    "objective_at",
    "rule_of",
    "schedule_of",
]

Self = TypeVar("Self", bound="MetaPolicyConfig")


@dataclass(frozen=True)
class InnerConfig:
    """Adaptation to one task.

    Attributes:
        steps: inner gradient steps in training, each with fresh trajectories (Finn et al., 2017: 1). 0 trains one
            policy on all tasks together: the pretrained baseline.
        rate: learning rate of the first step, halved for all later ones (Finn et al., 2017, A.2: 0.1, then 0.05); or a
            list, the rate of each step, whose last entry goes on.
        mode: "unrolled" differentiates through the inner steps, "first_order" takes their gradients as constants.
        loss: the estimator of the inner policy gradient, which differ in their second derivatives: "log_probability"
            (Finn et al., 2017), "likelihood_ratio" (the low-variance curvature of Rothfuss et al., 2019), "dice"
            (Foerster et al., 2018).
        adapts: which parameters the inner steps move: "all" (MAML), "head", the last layer and the spread (ANIL, Raghu
            et al., 2020), "context", those of `policy.context` (CAVIA, Zintgraf et al., 2019), or a list of what their
            names begin with.
        learned_rates: learns the inner rates, from `rate` on: true a rate for each tensor and step (Antoniou et al.,
            2018), "per_scalar" one for each scalar (Meta-SGD, Li et al., 2017).
    """

    steps: int = 1
    rate: float | list[float] = 0.1
    mode: Literal["unrolled", "first_order"] = "unrolled"
    loss: Literal["log_probability", "likelihood_ratio", "dice"] = "log_probability"
    adapts: Literal["all", "head", "context"] | list[str] = "all"
    learned_rates: bool | Literal["per_scalar"] = False

    def __post_init__(self) -> None:
        require("inner.steps", self.steps >= 0, "at least 0", self.steps)
        try:
            schedule_of(self.rate)
        except ValueError as error:
            raise ValueError(f"`inner.rate`: {error}") from error
        if self.learned_rates and not self.steps:
            raise ValueError("`inner.learned_rates` needs inner steps to have a rate, got `inner.steps` 0.")
        if self.adapts == []:
            raise ValueError("`inner.adapts` must name at least one parameter, got an empty list.")


@dataclass(frozen=True)
class ObjectiveConfig:
    """What every meta-update counts.

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
        require("outer.annealing_iterations", self.annealing_iterations >= 0, "at least 0", self.annealing_iterations)
        require("outer.chunk", self.chunk > 0, "at least 1", self.chunk)
        credit = self.sampling_credit
        require("outer.sampling_credit", 0 <= credit <= 1, "in [0, 1]", credit)


@dataclass(frozen=True)
class MetaPolicyConfig:
    """Meta-reinforcement learning. The defaults are Finn et al. (2017) on 2D navigation.

    Attributes:
        environment: the task distribution.
        policy: the policy network.
        inner: adaptation.
        estimator: advantages.
        tasks: N, tasks in a meta-batch (Finn et al., 2017: 20 for navigation, 40 for locomotion).
        episodes: E, episodes per task and inner step (Finn et al., 2017: 20; 40 for ant forward/backward).
        iterations: meta-iterations (Finn et al., 2017: at most 500); 0 leaves the initial policy.
        start: a model saved by Stable-Baselines3 (PPO or A2C, MLP policy) whose policy is the initialisation; random
            weights where nothing is given.
        seed: of everything random in training.
        device: "cpu" or "cuda", for the policy, adaptation and the meta-update; the simulation runs on the CPU.
        precision: of the policy and the trajectories.
        torch_threads: threads of the learner's arithmetic. Part of the configuration because sums depend on it in the
            last bits; the number of simulation threads does not matter.
    """

    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    tasks: int = 20
    episodes: int = 20
    iterations: int = 500
    start: str | None = None
    seed: int = 1
    device: str = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    torch_threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("tasks", 1), ("episodes", 1), ("iterations", 0), ("torch_threads", 1)):
            require(name, getattr(self, name) >= least, f"at least {least}", getattr(self, name))
        require("seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
        if self.inner.adapts == "context" and not self.policy.context:
            raise ValueError("`inner.adapts` 'context' needs context parameters: set `policy.context`.")
        outer: ObjectiveConfig | None = getattr(self, "outer", None)
        if isinstance(outer, ObjectiveConfig):
            self._require_counted(outer)

    def _require_counted(self, outer: ObjectiveConfig) -> None:
        try:
            for iteration in (0, outer.annealing_iterations):
                objective_at(outer, iteration).points(self.inner.steps)
        except ValueError as error:
            raise ValueError(f"`outer.objective` does not go with `inner.steps` {self.inner.steps}: {error}") from None
        if outer.sampling_credit and not self.inner.steps:
            raise ValueError("`outer.sampling_credit` is for the samples of inner steps, got `inner.steps` 0.")
        if outer.sampling_credit and outer.objective != "final":
            raise ValueError(
                "`outer.sampling_credit` is what the last point of adaptation owes to the inner samples: "
                f"`outer.objective` must be 'final', got {outer.objective!r}."
            )
        if outer.sampling_credit and self.tasks < 2:
            raise ValueError("`outer.sampling_credit` compares tasks and needs at least 2, got `tasks` 1.")

    def for_use(self: Self, environment: EnvironmentConfig) -> Self:
        """The same with environments of one task and episode, for a policy that is trained already."""
        return replace(self, environment=environment, start=None, tasks=2, episodes=self.fewest_episodes())

    def fewest_episodes(self) -> int:
        """How few episodes a task may have with this configuration."""
        return 1

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        found = []
        if self.start is not None:
            found += changed_in_vain("policy", self.policy, ("initial_std", "output_scale"), "a policy of `start`")
        if self.policy.context and not (self.inner.steps and _moves_context(self.inner)):
            found.append(f"`policy.context` {self.policy.context} has no effect: no inner step moves it from zero.")
        if self.inner.mode == "first_order" or not self.inner.steps:
            chosen = "`inner.steps` 0" if not self.inner.steps else "`inner.mode` 'first_order'"
            found += changed_in_vain("inner", self.inner, ("loss",), chosen)
        if self.inner.learned_rates == "per_scalar" and isinstance(self.inner.rate, list):
            found.append("only the first entry of `inner.rate` counts: rates per scalar are the same at each step.")
        outer: Any = getattr(self, "outer", None)
        if isinstance(outer, ObjectiveConfig) and outer.objective != "annealed":
            chosen = f"`outer.objective` {outer.objective!r}"
            found += changed_in_vain("outer", outer, ("annealing_iterations",), chosen)
        return found


def _moves_context(inner: InnerConfig) -> bool:
    if isinstance(inner.adapts, list):
        return CONTEXT.startswith(tuple(inner.adapts))
    return inner.adapts != "head"


def schedule_of(rate: float | Sequence[float]) -> Schedule:
    """A number is halved after the first step; a list is taken as it is."""
    return halved_after_first(rate) if isinstance(rate, (int, float)) else listed(rate)


def adapts(inner: InnerConfig, policy: Policy) -> Callable[[str], bool]:
    """Which parameters, by name, the inner steps move."""
    if inner.adapts == "all":
        return lambda name: True
    if inner.adapts == "head":
        return policy.head
    prefixes = (CONTEXT,) if inner.adapts == "context" else tuple(inner.adapts)
    return lambda name: name.startswith(prefixes)


def rule_of(inner: InnerConfig, policy: Policy, schedule: Schedule | None = None) -> Rule:
    """The inner update rule of a configuration, or one with the rates of `schedule`."""
    learned = inner.learned_rates and schedule is None
    rule = learned_rates() if learned else sgd(schedule or schedule_of(inner.rate))
    return rule if inner.adapts == "all" else only(rule, adapts(inner, policy))


def mode_of(inner: InnerConfig) -> Mode:
    """The differentiation mode of a configuration."""
    return {"unrolled": unrolled, "first_order": first_order}[inner.mode]()


def objective_at(outer: ObjectiveConfig, iteration: int) -> Objective:
    """The meta-objective in an iteration."""
    if outer.objective == "annealed":
        return annealed(iteration, outer.annealing_iterations)
    return objective_of(outer.objective)
