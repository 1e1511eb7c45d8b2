"""What a run of learning an optimiser is told: which optimiser, on what, and how it is meta-trained."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from maml_rl.systems.settings import changed_in_vain, require
from maml_rl.systems.system import RunConfig

__all__ = ["Config", "MetaConfig", "OptimiserConfig"]


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser.

    Attributes:
        kind: "hierarchical" has recurrent units for each parameter, tensor and the whole (Wichrowska et al., 2017);
            "per_parameter" is one small perceptron for every parameter (Metz et al., 2022).
        units: of the three levels' units, or of the perceptron's hidden layers.
        rates: between which the hierarchical one's first learning rate is drawn, log-uniform (Wichrowska et al., 2017:
            1e-6 and 1e-2).
    """

    kind: Literal["hierarchical", "per_parameter"] = "per_parameter"
    units: list[int] = field(default_factory=lambda: [16, 16])
    rates: list[float] = field(default_factory=lambda: [1e-4, 1e-2])

    def __post_init__(self) -> None:
        levels = self.kind == "hierarchical"
        expected = "three positive numbers" if levels else "positive numbers"
        good = all(units > 0 for units in self.units) and (len(self.units) == 3 or not levels)
        require("optimiser.units", good, f"{expected} with `optimiser.kind` {self.kind!r}", self.units)
        ordered = len(self.rates) == 2 and 0 < self.rates[0] <= self.rates[1] < float("inf")
        require("optimiser.rates", ordered, "two positive numbers, the smaller one first", self.rates)


@dataclass(frozen=True)
class MetaConfig:
    """How the optimiser's weights are learned.

    Attributes:
        estimator: of the meta-gradient: "truncated" differentiates an unroll, "evolution" and "persistent" (Vicol et
            al., 2021) perturb the weights.
        unroll: steps of an estimate.
        sigma: standard deviation of perturbations.
        objective: "uniform" counts all steps of a training alike, "final" the last tenth alone; "annealed" goes from
            the one to the other.
        annealing: iterations that "annealed" takes.
        learning_rate: Adam's, of the weights.
        final_learning_rate: where it ends, along a cosine; the same throughout where nothing is given.
        max_norm: the largest norm of a problem's meta-gradient; a longer one is scaled down to it.
    """

    estimator: Literal["truncated", "evolution", "persistent"] = "persistent"
    unroll: int = 20
    sigma: float = 0.01
    objective: Literal["final", "uniform", "annealed"] = "uniform"
    annealing: int = 1000
    learning_rate: float = 1e-3
    final_learning_rate: float | None = None
    max_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("unroll", "annealing"):
            require(f"meta.{name}", getattr(self, name) > 0, "at least 1", getattr(self, name))
        for name in ("sigma", "max_norm"):
            value = getattr(self, name)
            require(f"meta.{name}", 0 < value < float("inf"), "positive and finite", value)
        for name in ("learning_rate", "final_learning_rate"):
            value = getattr(self, name)
            require(f"meta.{name}", value is None or 0 <= value < float("inf"), "finite and at least 0", value)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        remarks = []
        if self.estimator == "truncated":
            remarks += changed_in_vain("meta", self, ("sigma",), "`meta.estimator` 'truncated'")
        if self.objective != "annealed":
            remarks += changed_in_vain("meta", self, ("annealing",), f"`meta.objective` {self.objective!r}")
        return remarks


@dataclass(frozen=True)
class Config(RunConfig):
    """A learned optimiser. An iteration is an unroll of trainings of every problem, and one meta-update.

    Attributes:
        optimiser: what is learned.
        problems: names of `maml_rl.problems.CORPUS` or `OF_FILES`, or ``package.module:function`` for your own.
        data: folder or archive of Omniglot's images, for problems that read them.
        lifetimes: trainings of each problem, side by side.
        length: steps of a training.
        augmentation: problems are in other units in each training, their tensors by factors between 1 / it and it.
        meta: how the weights are learned.
        traced: whether the operations of a step are recorded once and replayed, to the same bits. Recording takes some
            seconds for each problem; without it, each step takes longer.
        report_every: iterations that share a row of metrics and a checkpoint.
    """

    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    problems: list[str] = field(default_factory=lambda: ["quadratic", "softmax", "digits-32"])
    data: str | None = None
    lifetimes: int = 16
    length: int = 200
    augmentation: float = 1.0
    meta: MetaConfig = field(default_factory=MetaConfig)
    traced: bool = True
    report_every: int = 20

    places: ClassVar[frozenset[str]] = RunConfig.places | {"data"}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lifetimes", "length", "report_every"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        unique = bool(self.problems) and len(set(self.problems)) == len(self.problems)
        require("problems", unique, "names, each once", self.problems)
        require("augmentation", 1 <= self.augmentation < float("inf"), "finite and at least 1", self.augmentation)
        fits = self.meta.unroll <= self.length
        require("meta.unroll", fits, f"at most `length` {self.length}", self.meta.unroll)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        rates = () if self.optimiser.kind == "hierarchical" else ("rates",)
        unused = changed_in_vain("optimiser", self.optimiser, rates, f"`optimiser.kind` {self.optimiser.kind!r}")
        return unused + self.meta.remarks()

    def schedule_end(self) -> str | None:
        """The option whose schedule ends at `iterations`, if there is one."""
        return None if self.meta.final_learning_rate is None else "meta.final_learning_rate"
