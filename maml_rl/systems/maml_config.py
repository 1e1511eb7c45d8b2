"""The configuration of supervised meta-learning, and the rule, mode and objective that it describes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from torch import Tensor

from maml_rl.core.implicit import implicit
from maml_rl.core.modes import Mode, annealed_order, first_order, require_compatible, unrolled
from maml_rl.core.objectives import Objective, annealed
from maml_rl.core.rules import constant, learned_rates, listed, proximal_sgd, sgd
from maml_rl.core.rules.sgd import Schedule
from maml_rl.core.types import Rule
from maml_rl.supervised.networks import OPTIONS, Network, NetworkConfig
from maml_rl.supervised.task_distribution import DistributionConfig
from maml_rl.systems.settings import changed_in_vain, objective_of, require

__all__ = [
    "Config",
    "HeldOutConfig",
    "InnerConfig",
    "OuterConfig",
    "adapts",
    "mode_at",
    "objective_at",
    "rule_of",
    "schedule_of",
]


@dataclass(frozen=True)
class InnerConfig:
    """Adaptation to one task.

    Attributes:
        steps: inner gradient steps in training (Finn et al., 2017, sinusoid: 1). 0 trains one network on all tasks
            together: the pretrained baseline.
        rate: learning rate of every step (Finn et al., 2017, sinusoid: 0.01), or a list whose last entry goes on.
        learned_rates: learns the inner rates, from `rate` on: true a rate for each tensor and step (Antoniou et al.,
            2018), "per_scalar" one for each scalar, which all steps share (Meta-SGD, Li et al., 2017).
        adapts: which parameters the inner steps move: "all" (MAML), "head", the last layer (ANIL, Raghu et al., 2020),
            or a list of what their names begin with.
        mode: "unrolled" differentiates through the inner steps, "first_order" takes their gradients as constants,
            "implicit" takes the end for a minimum of the proximal problem (Rajeswaran et al., 2019).
        first_order_epochs: epochs up to this one are of first order, later ones unrolled (Antoniou et al., 2018: 50);
            0 for none.
        proximal: lam of the pull towards the start, lam/2 |phi - theta|^2 (Rajeswaran et al., 2019, Omniglot: 2);
            0 for none.
        cg_iterations: of the implicit mode (Rajeswaran et al., 2019: 5).
        damping: of the implicit mode: its derivative is taken as if the pull were `proximal` (1 + damping).
    """

    steps: int = 1
    rate: float | list[float] = 0.01
    learned_rates: bool | Literal["per_scalar"] = False
    adapts: Literal["all", "head"] | list[str] = "all"
    mode: Literal["unrolled", "first_order", "implicit"] = "unrolled"
    first_order_epochs: int = 0
    proximal: float = 0.0
    cg_iterations: int = 5
    damping: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("first_order_epochs", 0), ("cg_iterations", 1)):
            require(f"inner.{name}", getattr(self, name) >= least, f"at least {least}", getattr(self, name))
        require("inner.damping", 0 <= self.damping < math.inf, "finite and at least 0", self.damping)
        require("inner.proximal", 0 <= self.proximal < math.inf, "finite and at least 0", self.proximal)
        schedule_of(self.rate)
        if self.adapts == []:
            raise ValueError("`inner.adapts` must name at least one parameter, got an empty list.")
        if self.learned_rates and self.proximal:
            raise ValueError("`inner.learned_rates` and `inner.proximal` are two different rules; choose one.")
        if self.learned_rates and not self.steps:
            raise ValueError("`inner.learned_rates` needs inner steps to have a rate, got `inner.steps` 0.")
        if self.first_order_epochs and self.mode != "unrolled":
            raise ValueError(f"`inner.first_order_epochs` goes with the mode 'unrolled', got {self.mode!r}.")


@dataclass(frozen=True)
class OuterConfig:
    """The meta-update by Adam.

    Attributes:
        objective: "final" counts the loss after the last inner step (Finn et al., 2017), "uniform" those after each
            step alike, "annealed" moves from uniform to final (Antoniou et al., 2018); a list weighs all steps + 1
            points.
        update: what Adam takes for a gradient: "meta_gradient" of the objective (MAML), or the "displacement" from the
            mean adapted parameters to the initial ones (Reptile, Nichol et al., 2018).
        annealing_epochs: E of the annealed objective: final from epoch E on (Antoniou et al., 2018, code: 10).
        rate: of Adam (Finn et al., 2017: 1e-3).
        final_rate: where cosine annealing ends after the last iteration (Antoniou et al., 2018: 1e-5); the rate stays
            where nothing is given.
        clip: largest entry of the meta-gradient, in absolute value (Finn et al., 2017, mini-ImageNet: 10, of a loss
            that sums over 75 examples); none where nothing is given.
        chunk: tasks differentiated together, for less memory; 0 for all.
    """

    objective: Literal["final", "uniform", "annealed"] | list[float] = "final"
    update: Literal["meta_gradient", "displacement"] = "meta_gradient"
    annealing_epochs: int = 10
    rate: float = 1e-3
    final_rate: float | None = None
    clip: float | None = None
    chunk: int = 0

    def __post_init__(self) -> None:
        require("outer.rate", 0 < self.rate < math.inf, "positive and finite", self.rate)
        if isinstance(self.objective, list):
            try:
                objective_of(self.objective)
            except ValueError as error:
                raise ValueError(f"`outer.objective`: {error}") from None
        for name in ("annealing_epochs", "chunk"):
            require(f"outer.{name}", getattr(self, name) >= 0, "at least 0", getattr(self, name))
        for name in ("final_rate", "clip"):
            value = getattr(self, name)
            require(f"outer.{name}", value is None or 0 < value < math.inf, "positive and finite", value)
        if self.final_rate is not None and self.final_rate > self.rate:
            raise ValueError(f"`outer.final_rate` must be at most `outer.rate` {self.rate}, got {self.final_rate}.")


@dataclass(frozen=True)
class HeldOutConfig:
    """How held-out tasks are adapted to.

    Attributes:
        steps: inner steps (Finn et al., 2017: 10 for sinusoids, 3 for 5-way Omniglot).
        validation_tasks: after each epoch (Antoniou et al., 2018: 600).
        keep: how many of the best states by validation are kept for an ensemble (Antoniou et al., 2018: 3).
    """

    steps: int = 10
    validation_tasks: int = 200
    keep: int = 1

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("validation_tasks", 1), ("keep", 1)):
            require(f"test.{name}", getattr(self, name) >= least, f"at least {least}", getattr(self, name))


@dataclass(frozen=True)
class Config:
    """Supervised meta-learning. The defaults are Finn et al. (2017) on sinusoids, but for the initial weights.

    Attributes:
        system: which system this is a configuration of.
        distribution: the task distribution.
        data: folder or archive of the images, for a distribution that reads one.
        network: the network.
        inner: adaptation.
        outer: the meta-update.
        test: validation and evaluation.
        tasks: N, tasks in a meta-batch (Finn et al., 2017, sinusoid: 25).
        support: examples to adapt on, for each task in regression and for each class in classification (Finn et al.,
            2017, sinusoid: 10, whatever the number at test time).
        query: examples of the meta-loss, likewise (Finn et al., 2017: as many as support).
        epoch: iterations of an epoch, after which the state is validated (Antoniou et al., 2018: 500).
        iterations: meta-iterations (Finn et al., 2017, sinusoid: 70,000).
        report_every: iterations that share a row of metrics and a checkpoint.
        seed: of everything random in training.
        device: "cpu" or "cuda".
        precision: of everything.
        torch_threads: threads of the arithmetic; part of the configuration because sums depend on it in the last bits.
    """

    system: Literal["maml"] = "maml"
    distribution: DistributionConfig = field(default_factory=DistributionConfig)
    data: str | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    test: HeldOutConfig = field(default_factory=HeldOutConfig)
    tasks: int = 25
    support: int = 10
    query: int = 10
    epoch: int = 500
    iterations: int = 70000
    report_every: int = 100
    seed: int = 1
    device: str = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    torch_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("tasks", "support", "query", "epoch", "iterations", "report_every", "torch_threads"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        require("seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
        if self.epoch % self.report_every:
            raise ValueError(f"`epoch` {self.epoch} must be a multiple of `report_every` {self.report_every}.")
        for epoch in (0, self.outer.annealing_epochs):
            objective = objective_at(self.outer, epoch)
            try:
                objective.points(self.inner.steps)
            except ValueError as error:
                raise ValueError(
                    f"`outer.objective` does not go with `inner.steps` {self.inner.steps}: {error}"
                ) from None
            if self.inner.mode == "implicit" and not self.inner.proximal:
                raise ValueError("`inner.mode` 'implicit' needs the pull of `inner.proximal`, which is 0: set it.")
            require_compatible(mode_at(self.inner, epoch), rule_of(self.inner), objective)
        if self.inner.mode == "implicit":
            self._require_whole()
        if self.outer.update == "displacement":
            self._require_undifferentiated()
        sets, most = self.network.norm_steps, max(self.inner.steps, 1)
        if self.network.id == "conv4" and self.network.norm != "none" and sets > most:
            raise ValueError(
                f"`network.norm_steps` {sets} would leave sets untrained with `inner.steps` {self.inner.steps}; it "
                f"must be at most {most}."
            )

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        undifferentiated = self.outer.update == "displacement"
        network, implicit_only = self.network, ("cg_iterations", "damping")
        own = OPTIONS.get(network.id, ("arguments",))
        foreign = [option.name for option in fields(network) if option.name not in ("id", *own)]
        found = changed_in_vain("network", network, foreign, f"`network.id` {network.id!r}")
        if network.id == "conv4" and network.norm == "none":
            found += changed_in_vain("network", network, ("norm_steps", "adapt_norm"), "`network.norm` 'none'")
        if self.inner.mode != "implicit":
            found += changed_in_vain("inner", self.inner, implicit_only, f"`inner.mode` {self.inner.mode!r}")
        if undifferentiated:
            chosen = "`outer.update` 'displacement'"
            found += changed_in_vain("inner", self.inner, ("mode", "first_order_epochs"), chosen)
        if self.outer.objective != "annealed":
            chosen = f"`outer.objective` {self.outer.objective!r}"
            found += changed_in_vain("outer", self.outer, ("annealing_epochs",), chosen)
        return found

    def _require_undifferentiated(self) -> None:
        """A displacement says nothing of what has no place on the adaptation path, nor of other points than its end."""
        if not self.inner.steps:
            raise ValueError("`outer.update` 'displacement' needs at least one inner step, got `inner.steps` 0.")
        if self.inner.learned_rates:
            raise ValueError("`outer.update` 'displacement' is no derivative in `inner.learned_rates`: leave them out.")
        if self.outer.objective != "final":
            raise ValueError(
                "`outer.update` 'displacement' is that of the last inner step: `outer.objective` must be 'final', got "
                f"{self.outer.objective!r}."
            )
        network = self.network
        if network.id == "conv4" and (network.norm == "running" or (network.norm != "none" and not network.adapt_norm)):
            raise ValueError(
                "`outer.update` 'displacement' moves what is adapted and nothing else: set `network.norm` to 'none' or "
                f"to 'transductive' with `network.adapt_norm`, got {network.norm!r}."
            )

    def _require_whole(self) -> None:
        """The implicit derivative reaches the start only, so nothing else may be learned."""
        if self.inner.adapts != "all":
            raise ValueError(
                "`inner.mode` 'implicit' differentiates in what is adapted only: `inner.adapts` must be 'all', got "
                f"{self.inner.adapts!r}."
            )
        if self.network.id == "conv4" and self.network.norm != "none" and not self.network.adapt_norm:
            raise ValueError(
                "`inner.mode` 'implicit' differentiates in what is adapted only, but `network.adapt_norm` is false: "
                "set it, or `network.norm` to 'none'."
            )
        if self.network.id == "conv4" and (self.network.norm == "running" or self.network.norm_steps > 1):
            raise ValueError(
                "`inner.mode` 'implicit' takes adaptation for the descent of one loss and keeps its ends only, but "
                f"`network.norm` is {self.network.norm!r} with `norm_steps` {self.network.norm_steps}, which keeps "
                "sets for the steps: choose 'transductive' or 'none', and 1."
            )
        rates = self.inner.rate if isinstance(self.inner.rate, list) else [self.inner.rate]
        if min(rates) <= 0 or not self.inner.steps:
            raise ValueError("`inner.mode` 'implicit' needs at least one inner step, of a positive rate.")


def schedule_of(rate: float | Sequence[float]) -> Schedule:
    """A number is the rate of every step; a list is taken as it is."""
    return constant(rate) if isinstance(rate, (int, float)) else listed(rate)


def rule_of(inner: InnerConfig) -> Rule:
    """The inner update rule of a configuration."""
    if inner.learned_rates:
        return learned_rates()
    if inner.proximal:
        return proximal_sgd(schedule_of(inner.rate), inner.proximal)
    return sgd(schedule_of(inner.rate))


def mode_at(inner: InnerConfig, epoch: int, probe: Tensor | None = None) -> Mode:
    """The differentiation mode in an epoch; for `probe` see `implicit`."""
    if inner.mode == "implicit":
        return implicit(inner.cg_iterations, inner.damping, probe)
    if inner.mode == "first_order":
        return first_order()
    return annealed_order(epoch, inner.first_order_epochs) if inner.first_order_epochs else unrolled()


def objective_at(outer: OuterConfig, epoch: int) -> Objective:
    """The meta-objective in an epoch."""
    if outer.objective == "annealed":
        return annealed(epoch, outer.annealing_epochs)
    return objective_of(outer.objective)


def adapts(inner: InnerConfig, network: Network) -> Callable[[str], bool]:
    """Which parameters, by name, the inner steps move."""
    if inner.adapts == "all":
        return lambda name: True
    prefixes = (network.head,) if inner.adapts == "head" else tuple(inner.adapts)
    return lambda name: name.startswith(prefixes)
