"""What a search for update rules is told: where to look, what a rule is tried out on, and how to look."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from maml_rl.core.rules.language import BINARY, OPERANDS, UNARY, Language
from maml_rl.search import ControllerConfig
from maml_rl.systems.settings import changed_in_vain, require
from maml_rl.systems.system import RunConfig

__all__ = ["ChildConfig", "Config", "EvolutionConfig", "LanguageConfig"]


@dataclass(frozen=True)
class LanguageConfig:
    """Which programs there are; `maml_rl.core.rules.language` lists all words.

    Attributes:
        operations: of each program.
        operands: plain operands.
        unary: unary functions.
        binary: binary functions.
    """

    operations: int = 2
    operands: list[str] = field(default_factory=lambda: list(OPERANDS))
    unary: list[str] = field(default_factory=lambda: list(UNARY))
    binary: list[str] = field(default_factory=lambda: list(BINARY))

    def __post_init__(self) -> None:
        try:
            self.language  # noqa: B018  # makes it
        except ValueError as error:
            raise ValueError(f"`language`: {error}") from None
        require("language", self.language.size > 1, "at least two programs", self.language.size)

    @property
    def language(self) -> Language:
        """The language of these words."""
        return Language(self.operations, tuple(self.operands), tuple(self.unary), tuple(self.binary))


@dataclass(frozen=True)
class ChildConfig:
    """The training that a program is scored by, at the best of a few learning rates.

    Attributes:
        problem: a name of `maml_rl.problems.CORPUS` or `OF_FILES`, or ``package.module:function`` for one of your own.
            What is measured on its held-out data is the score.
        steps: of a training.
        rates: learning rates.
        seeds: trainings at each rate, whose mean score counts.
    """

    problem: str = "digits-16-validation"
    steps: int = 80
    rates: list[float] = field(default_factory=lambda: [1e-3, 1e-2, 1e-1, 1.0])
    seeds: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "seeds"):
            require(f"child.{name}", getattr(self, name) > 0, "at least 1", getattr(self, name))
        good = bool(self.rates) and all(0 < rate < float("inf") for rate in self.rates)
        require("child.rates", good, "positive numbers", self.rates)


@dataclass(frozen=True)
class EvolutionConfig:
    """Regularised evolution (Real et al., 2019).

    Attributes:
        population: programs that are alive, the last ones that were scored.
        tournament: members that a parent is the best of.
    """

    population: int = 100
    tournament: int = 25

    def __post_init__(self) -> None:
        for name in ("population", "tournament"):
            require(f"evolution.{name}", getattr(self, name) > 0, "at least 1", getattr(self, name))


@dataclass(frozen=True)
class Config(RunConfig):
    """A search for update rules. An iteration proposes a batch of programs, scores it and learns from it.

    Attributes:
        language: which programs there are.
        child: what a program is tried out on.
        data: folder or archive of Omniglot's images, for problems that read them.
        searcher: "controller", "evolution" or "random".
        controller: of that searcher.
        evolution: of that searcher.
        batch: programs of an iteration.
        budget: the most programs that are tried out in all. A formula that was tried before has its score already and
            costs nothing. An iteration whose new formulas would exceed the budget does nothing.
        best: how many of the best programs are kept.
        memory: the last so many formulas are remembered with their scores.
        report_every: iterations that share a row of metrics and a checkpoint.
    """

    language: LanguageConfig = field(default_factory=LanguageConfig)
    child: ChildConfig = field(default_factory=ChildConfig)
    data: str | None = None
    searcher: Literal["controller", "evolution", "random"] = "controller"
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    batch: int = 32
    budget: int = 3000
    best: int = 20
    memory: int = 20000
    report_every: int = 1

    places: ClassVar[frozenset[str]] = RunConfig.places | {"data"}

    extendable: ClassVar[frozenset[str]] = frozenset({"iterations", "budget"})
    """Fields that may differ when a run goes on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch", "budget", "best", "memory", "report_every"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        require("memory", self.memory >= self.batch, f"at least `batch` {self.batch}", self.memory)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        chosen = f"`searcher` {self.searcher!r}"
        if self.searcher != "controller":
            names = ("learning", "units", "learning_rate", "entropy_weight", "baseline_decay", "clip")
            remarks = changed_in_vain("controller", self.controller, (*names, "epochs"), chosen)
        elif self.controller.learning == "reinforce":
            remarks = changed_in_vain(
                "controller", self.controller, ("clip", "epochs"), "`controller.learning` 'reinforce'"
            )
        else:
            remarks = []
        if self.searcher != "evolution":
            remarks += changed_in_vain("evolution", self.evolution, ("population", "tournament"), chosen)
        return remarks
