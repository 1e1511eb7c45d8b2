"""The configuration of supervised meta-learning: what goes together, and what is refused before any work."""

import math
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from maml_rl.core.modes import require_compatible
from maml_rl.core.objectives import Objective
from maml_rl.core.schedules import Schedule, constant, cosine
from maml_rl.supervised.networks import Adaptation, NetworkConfig, architecture_of
from maml_rl.supervised.task_distribution import DistributionConfig
from maml_rl.systems.inner import InnerConfig, inner_mode, inner_rule, schedule_of
from maml_rl.systems.settings import changed_in_vain, objective_at, require, require_objective, require_weights
from maml_rl.systems.system import RunConfig

__all__ = ["Config", "HeldOutConfig", "OuterConfig", "meta_schedule"]


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
        learning_rate: of Adam (Finn et al., 2017: 1e-3).
        final_learning_rate: where cosine annealing ends after the last iteration (Antoniou et al., 2018: 1e-5); the
            learning rate stays where nothing is given.
        clip: largest entry of the meta-gradient, in absolute value (Finn et al., 2017, mini-ImageNet: 10, of a loss
            that sums over 75 examples); none where nothing is given.
        chunk: tasks differentiated together, for less memory; 0 for all.
    """

    objective: Literal["final", "uniform", "annealed"] | list[float] = "final"
    update: Literal["meta_gradient", "displacement"] = "meta_gradient"
    annealing_epochs: int = 10
    learning_rate: float = 1e-3
    final_learning_rate: float | None = None
    clip: float | None = None
    chunk: int = 0

    def __post_init__(self) -> None:
        require("outer.learning_rate", 0 < self.learning_rate < math.inf, "positive and finite", self.learning_rate)
        require_weights(self.objective)
        for name in ("annealing_epochs", "chunk"):
            require(f"outer.{name}", getattr(self, name) >= 0, "at least 0", getattr(self, name))
        for name in ("final_learning_rate", "clip"):
            value = getattr(self, name)
            require(f"outer.{name}", value is None or 0 < value < math.inf, "positive and finite", value)
        if self.final_learning_rate is not None and self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"`outer.final_learning_rate` must be at most `outer.learning_rate` {self.learning_rate}, got "
                f"{self.final_learning_rate}."
            )

    def objective_at(self, epoch: int) -> Objective:
        """The meta-objective in an epoch."""
        return objective_at(self.objective, epoch, self.annealing_epochs)


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
class Config(RunConfig):
    """Supervised meta-learning. The defaults are Finn et al. (2017) on sinusoids, but for the initial weights.

    Attributes:
        iterations: meta-iterations (Finn et al., 2017, sinusoid: 70,000).
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
        report_every: iterations that share a row of metrics and a checkpoint.
    """

    iterations: int = 70000
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
    report_every: int = 100

    places: ClassVar[frozenset[str]] = RunConfig.places | {"data"}
    extendable: ClassVar[frozenset[str]] = RunConfig.extendable | {"data"}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tasks", "support", "query", "epoch", "report_every"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        if self.epoch % self.report_every:
            raise ValueError(f"`epoch` {self.epoch} must be a multiple of `report_every` {self.report_every}.")
        if self.inner.adapts == "context":
            raise ValueError(
                "`inner.adapts` 'context' is for policies, which have context parameters: a network has none. Choose "
                "'all', 'head', or what names begin with."
            )
        self._require_objective()
        implicit, displacement = self.inner.mode == "implicit", self.outer.update == "displacement"
        rates = list(map(schedule_of(self.inner.learning_rate), range(self.inner.steps)))
        if implicit and min(rates, default=0.0) <= 0:
            raise ValueError("`inner.mode` 'implicit' needs at least one inner step, and positive learning rates.")
        if displacement:
            self._require_undifferentiated()
        architecture_of(self.network.id).require(self.network, Adaptation(self.inner.steps, implicit, displacement))

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        network, architecture = self.network, architecture_of(self.network.id)
        foreign = [option.name for option in fields(network) if option.name not in ("id", *architecture.options)]
        lines = changed_in_vain("network", network, foreign, f"`network.id` {network.id!r}")
        for choice, options in architecture.without_effect(network).items():
            lines += changed_in_vain("network", network, options, choice)
        lines += self.inner.remarks()
        if self.outer.update == "displacement":
            options = ("mode", "first_order_iterations")
            lines += changed_in_vain("inner", self.inner, options, "`outer.update` 'displacement'")
        if self.outer.objective != "annealed":
            choice = f"`outer.objective` {self.outer.objective!r}"
            lines += changed_in_vain("outer", self.outer, ("annealing_epochs",), choice)
        return lines

    def schedule_end(self) -> str | None:
        """The cosine's end, where the learning rate has one."""
        return None if self.outer.final_learning_rate is None else "outer.final_learning_rate"

    def _require_objective(self) -> None:
        """The objective must go with the path's length and with the mode from the first epoch on."""
        outer = self.outer
        require_objective(outer.objective, outer.annealing_epochs, self.inner.steps)
        require_compatible(inner_mode(self.inner), inner_rule(self.inner), outer.objective_at(0))

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


def meta_schedule(config: Config) -> Schedule:
    """Adam's learning rate in each meta-iteration; it changes from epoch to epoch."""
    outer = config.outer
    if outer.final_learning_rate is None:
        return constant(outer.learning_rate)
    return cosine(outer.learning_rate, outer.final_learning_rate, config.iterations, every=config.epoch)
