"""What a run of learning a synaptic rule is told: the networks, the tasks, and how the rule is found."""

from dataclasses import dataclass, field
from typing import Literal

from maml_rl.problems.plastic_network import Feedback
from maml_rl.systems.settings import changed_in_vain, require
from maml_rl.systems.system import RunConfig

__all__ = ["Config", "MetaConfig", "NetworkConfig", "TasksConfig"]


@dataclass(frozen=True)
class NetworkConfig:
    """The networks that learn by the rule.

    Attributes:
        hidden: hidden units; 0 for one layer of synapses.
        unit: "tanh" has activities between -1 for no and 1 for yes, "sigmoid" between 0 and 1; inputs are told alike.
        std: of the initial weights, which are normal, times the root of a unit's number of inputs.
        feedback: what modulates hidden units: "transposed" is the output's error sent back along the weights to the
            output, "random" along fixed random ones (Lillicrap et al., 2016), "global" is the error itself for all.
    """

    hidden: int = 0
    unit: Literal["sigmoid", "tanh"] = "tanh"
    std: float = 1.0
    feedback: Feedback = "transposed"

    def __post_init__(self) -> None:
        require("network.hidden", self.hidden >= 0, "at least 0", self.hidden)
        require("network.std", 0 <= self.std < float("inf"), "finite and at least 0", self.std)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        return [] if self.hidden else changed_in_vain("network", self, ("feedback",), "`network.hidden` 0")


@dataclass(frozen=True)
class TasksConfig:
    """What the rule is learned on, and what is held out.

    Attributes:
        families: "separable" are the linearly separable Boolean functions, "inseparable" the others, "conditioning" are
            experiments of classical conditioning, which take two inputs and sigmoid units.
        inputs: of the functions, 2 or 3; a function of two inputs is also one of three that ignores the third.
        training: how many tasks the rule is learned on, drawn by the seed; all that are not held out where nothing is
            given.
        held_out: how many tasks are held out, drawn by the seed whatever `training` is, or their names.
    """

    families: list[Literal["separable", "inseparable", "conditioning"]] = field(default_factory=lambda: ["separable"])
    inputs: int = 3
    training: int | None = None
    held_out: int | list[str] = 40

    def __post_init__(self) -> None:
        unique = bool(self.families) and len(set(self.families)) == len(self.families)
        require("tasks.families", unique, "names, each once", self.families)
        require("tasks.inputs", self.inputs in (2, 3), "2 or 3", self.inputs)
        good = self.training is None or self.training > 0
        require("tasks.training", good, "at least 1", self.training)
        some = self.held_out > 0 if isinstance(self.held_out, int) else bool(self.held_out)
        require("tasks.held_out", some, "at least 1, or names", self.held_out)
        fits = "conditioning" not in self.families or self.inputs == 2
        require("tasks.inputs", fits, "2 with `tasks.families` 'conditioning'", self.inputs)


@dataclass(frozen=True)
class MetaConfig:
    """How the rule is found.

    Attributes:
        optimiser: "gradient" differentiates through whole lifetimes and takes steps of Adam; "cma_es" ranks candidates.
        objective: "uniform" counts all presentations of a lifetime alike, "final" the last tenth alone; "annealed" goes
            from the one to the other.
        annealing: iterations that "annealed" takes.
        logarithmic: whether the logarithm of 1 + loss counts in the loss's place, so that lifetimes in which weights
            grow without bound do not outweigh all others.
        initial: standard deviation of the rule's first coefficients. Small ones hardly move a weight, so meta-gradients
            through long lifetimes begin tame.
        learning_rate: Adam's.
        final_learning_rate: where it ends, along a cosine; the same throughout where nothing is given.
        max_norm: the largest norm of a lifetime's meta-gradient; a longer one is scaled down to it before the mean.
        sigma: the first step size of CMA-ES.
        population: candidates of an iteration of CMA-ES.
    """

    optimiser: Literal["gradient", "cma_es"] = "gradient"
    objective: Literal["final", "uniform", "annealed"] = "uniform"
    annealing: int = 100
    logarithmic: bool = False
    initial: float = 0.01
    learning_rate: float = 0.03
    final_learning_rate: float | None = None
    max_norm: float = 1.0
    sigma: float = 0.3
    population: int = 12

    def __post_init__(self) -> None:
        require("meta.annealing", self.annealing > 0, "at least 1", self.annealing)
        require("meta.population", self.population > 1, "at least 2", self.population)
        require("meta.initial", 0 <= self.initial < float("inf"), "finite and at least 0", self.initial)
        for name in ("max_norm", "sigma"):
            value = getattr(self, name)
            require(f"meta.{name}", 0 < value < float("inf"), "positive and finite", value)
        for name in ("learning_rate", "final_learning_rate"):
            value = getattr(self, name)
            require(f"meta.{name}", value is None or 0 <= value < float("inf"), "finite and at least 0", value)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        by_gradient, chosen = self.optimiser == "gradient", f"`meta.optimiser` {self.optimiser!r}"
        unused = ("sigma", "population") if by_gradient else ("learning_rate", "final_learning_rate", "max_norm")
        remarks = changed_in_vain("meta", self, unused, chosen)
        if self.objective != "annealed":
            remarks += changed_in_vain("meta", self, ("annealing",), f"`meta.objective` {self.objective!r}")
        return remarks


@dataclass(frozen=True)
class Config(RunConfig):
    """A synaptic learning rule. An iteration is some lifetimes of networks, from begin to end, and one meta-update.

    Attributes:
        network: what learns by the rule.
        tasks: what it learns.
        meta: how the rule is found.
        presentations: of patterns, in a lifetime.
        lifetimes: side by side; the tasks are dealt to them in turn, each lifetime with initial weights of its own.
        traced: records the operations of a presentation once and replays them: the same numbers, sooner.
        report_every: iterations that share a row of metrics and a checkpoint.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    presentations: int = 80
    lifetimes: int = 64
    traced: bool = True
    report_every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lifetimes", "report_every"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        require("presentations", self.presentations >= 10, "at least 10", self.presentations)
        fits = "conditioning" not in self.tasks.families or self.network.unit == "sigmoid"
        require("network.unit", fits, "'sigmoid' with `tasks.families` 'conditioning'", self.network.unit)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        return self.network.remarks() + self.meta.remarks()

    def schedule_end(self) -> str | None:
        """The option whose schedule ends at `iterations`, if there is one."""
        by_gradient = self.meta.optimiser == "gradient"
        return "meta.final_learning_rate" if by_gradient and self.meta.final_learning_rate is not None else None
