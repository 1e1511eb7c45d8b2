"""How a learner adapts to one task, in a configuration's words, and the rule and the mode that it describes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from maml_rl.core.implicit import implicit
from maml_rl.core.modes import Mode, annealed_order, first_order
from maml_rl.core.rules import adam, learned_rates, momentum, only, proximal_sgd, sgd
from maml_rl.core.schedules import Schedule, listed
from maml_rl.core.types import Rule
from maml_rl.systems.settings import changed_in_vain, require

__all__ = [
    "FirstThen",
    "InnerConfig",
    "LearningRate",
    "inner_mode",
    "inner_rule",
    "moves",
    "rates_used",
    "require_rates",
    "schedule_of",
]


@dataclass(frozen=True)
class FirstThen:
    """A learning rate of the first inner step, and another of all later ones.

    Attributes:
        first: of the first step.
        then: of every later one.
    """

    first: float
    then: float


LearningRate: TypeAlias = float | FirstThen | list[float]


@dataclass(frozen=True)
class InnerConfig:
    """Adaptation to one task.

    Attributes:
        steps: inner gradient steps in training. 0 trains one learner on all tasks together: the pretrained baseline.
        learning_rate: a number, the rate of every step; {first: 0.1, then: 0.05}; or a list, whose last entry goes on.
        rule: "sgd", "momentum" (Polyak, 1964), or "adam" (Kingma and Ba, 2015).
        momentum: decay of the rule "momentum".
        learned_rates: learns the rates of "sgd", from `learning_rate` on: true a rate for each tensor and step
            (Antoniou et al., 2018), "per_scalar" one for each scalar, which all steps share (Meta-SGD, Li et al.,
            2017).
        adapts: which parameters the inner steps move: "all" (MAML), "head", the last layer and a policy's spread (ANIL,
            Raghu et al., 2020), "context", those of `policy.context` (CAVIA, Zintgraf et al., 2019), or a list of what
            their names begin with.
        mode: "unrolled" differentiates through the inner steps, "first_order" takes their gradients as constants,
            "implicit" takes the end for a minimum of the proximal problem (Rajeswaran et al., 2019; supervised).
        first_order_iterations: so many meta-iterations are of first order, later ones unrolled (Antoniou et al., 2018:
            50 epochs); 0 for none.
        proximal: lam of a pull towards the start, lam/2 |phi - theta|^2 (Rajeswaran et al., 2019, Omniglot: 2); 0 for
            none.
        cg_iterations: of the implicit mode (Rajeswaran et al., 2019: 5).
        damping: of the implicit mode: its derivative is taken as if the pull were `proximal` (1 + damping).
    """

    steps: int = 1
    learning_rate: LearningRate = 0.01
    rule: Literal["sgd", "momentum", "adam"] = "sgd"
    momentum: float = 0.9
    learned_rates: bool | Literal["per_scalar"] = False
    adapts: Literal["all", "head", "context"] | list[str] = "all"
    mode: Literal["unrolled", "first_order", "implicit"] = "unrolled"
    first_order_iterations: int = 0
    proximal: float = 0.0
    cg_iterations: int = 5
    damping: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("first_order_iterations", 0), ("cg_iterations", 1)):
            require(f"inner.{name}", getattr(self, name) >= least, f"at least {least}", getattr(self, name))
        for name in ("damping", "proximal"):
            value = getattr(self, name)
            require(f"inner.{name}", 0 <= value < math.inf, "finite and at least 0", value)
        require("inner.momentum", 0 <= self.momentum < 1, "in [0, 1)", self.momentum)
        try:
            schedule_of(self.learning_rate)
        except ValueError as error:
            raise ValueError(f"`inner.learning_rate`: {error}") from error
        if self.adapts == []:
            raise ValueError("`inner.adapts` must name at least one parameter, got an empty list.")
        if self.learned_rates and not self.steps:
            raise ValueError("`inner.learned_rates` needs inner steps to have a rate, got `inner.steps` 0.")
        for option, chosen in (("learned_rates", self.learned_rates), ("proximal", self.proximal)):
            if chosen and self.rule != "sgd":
                raise ValueError(f"`inner.{option}` goes with `inner.rule` 'sgd', got {self.rule!r}.")
        if self.learned_rates and self.proximal:
            raise ValueError("`inner.learned_rates` and `inner.proximal` are two different rules; choose one.")
        if self.first_order_iterations and self.mode != "unrolled":
            raise ValueError(f"`inner.first_order_iterations` goes with the mode 'unrolled', got {self.mode!r}.")
        if self.mode == "implicit" and not self.proximal:
            raise ValueError("`inner.mode` 'implicit' needs the pull of `inner.proximal`, which is 0: set it.")

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = []
        if self.mode != "implicit":
            remarks += changed_in_vain("inner", self, ("cg_iterations", "damping"), f"`inner.mode` {self.mode!r}")
        if self.rule != "momentum":
            remarks += changed_in_vain("inner", self, ("momentum",), f"`inner.rule` {self.rule!r}")
        if self.learned_rates == "per_scalar" and not isinstance(self.learning_rate, (int, float)):
            remarks.append("only the first `inner.learning_rate` counts: rates per scalar are the same at each step.")
        return remarks


def schedule_of(rate: LearningRate | Sequence[float]) -> Schedule:
    """The learning rate of each inner step.

    Raises:
        ValueError: a rate is negative or not finite.
    """
    if isinstance(rate, FirstThen):
        return listed([rate.first, rate.then])
    return listed([rate] if isinstance(rate, (int, float)) else rate)


def rates_used(inner: InnerConfig, steps: int, rates: Sequence[float] | None) -> list[float] | str:
    """The learning rate of each of `steps` inner steps: those given, the configuration's, or that they are learned."""
    if rates is None and inner.learned_rates:
        return "learned"
    schedule = schedule_of(inner.learning_rate if rates is None else rates)
    return [schedule(step) for step in range(steps)]


def require_rates(steps: int | None, rates: Sequence[float] | None) -> None:
    """Raises `ValueError` unless learning rates, where they are given, are such numbers and no more than the steps."""
    if rates is None:
        return
    if not rates or not all(0 <= rate < math.inf for rate in rates):
        raise ValueError(f"`learning_rates` must be one or more finite numbers of at least 0, got {list(rates)}.")
    if steps is not None and len(rates) > max(steps, 1):
        raise ValueError(f"`learning_rates` has {len(rates)} entries, there are {steps} gradient steps.")


def moves(inner: InnerConfig, head: Callable[[str], bool], context: str = "context") -> Callable[[str], bool]:
    """Which parameters, by name, the inner steps move.

    Args:
        inner: the configuration.
        head: whether a name is one of the last layer's.
        context: the name of context parameters.
    """
    if inner.adapts == "all":
        return lambda name: True
    if inner.adapts == "head":
        return head
    beginnings = (context,) if inner.adapts == "context" else tuple(inner.adapts)
    return lambda name: name.startswith(beginnings)


def inner_rule(
    inner: InnerConfig, moved: Callable[[str], bool] | None = None, rates: Sequence[float] | None = None
) -> Rule:
    """The inner update rule.

    Args:
        inner: the configuration.
        moved: restricts the rule to the parameters whose names it accepts; None where it is only handed those.
        rates: learning rates in place of the configuration's or the learned ones.
    """
    schedule = schedule_of(inner.learning_rate if rates is None else rates)
    if inner.learned_rates and rates is None:
        rule = learned_rates()
    elif inner.proximal:
        rule = proximal_sgd(schedule, inner.proximal)
    elif inner.rule == "momentum":
        rule = momentum(schedule, inner.momentum)
    else:
        rule = adam(schedule) if inner.rule == "adam" else sgd(schedule)
    return rule if moved is None or inner.adapts == "all" else only(rule, moved)


def inner_mode(inner: InnerConfig, iteration: int = 0, probe: Tensor | None = None) -> Mode:
    """The differentiation mode in a meta-iteration; for `probe` see `implicit`."""
    if inner.mode == "implicit":
        return implicit(inner.cg_iterations, inner.damping, probe)
    return first_order() if inner.mode == "first_order" else annealed_order(iteration, inner.first_order_iterations)
