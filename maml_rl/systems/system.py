"""The contract of every system: all that training, evaluation, films and exports ask of one.

A system is a module with two names: `Config`, a frozen dataclass that extends `RunConfig`, and `System`, made from such
a configuration. ``--system package.module`` uses one of your own like those of this package.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.sampling.actors import Player
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Measure, Progress
from maml_rl.systems.settings import require

__all__ = [
    "Exported",
    "Exporter",
    "Gain",
    "Metrics",
    "MetricRoles",
    "Renderer",
    "RunConfig",
    "Scene",
    "State",
    "System",
    "is_time",
]

State: TypeAlias = dict[str, Any]
"""A training state: nested dictionaries of tensors, numbers and strings, which `torch.save` keeps exactly."""

Metrics: TypeAlias = dict[str, float]
"""Numbers of one iteration by name. A name that ends in ``_s``, but not in ``_per_s``, is a time in seconds;
`iteration_s` is that of a whole iteration, of which others are parts."""


def is_time(name: str) -> bool:
    """Whether a metric is a time in seconds."""
    return name.endswith("_s") and not name.endswith("_per_s")


@dataclass(frozen=True)
class RunConfig:
    """What every run has.

    Attributes:
        iterations: meta-iterations.
        seed: of everything random in training.
        device: "cpu" or "cuda", for everything but the simulation.
        precision: of all arithmetic on parameters and data.
        torch_threads: threads of the arithmetic. Part of the configuration because sums depend on it in the last bits;
            the number of simulation threads does not matter.
    """

    iterations: int = 500
    seed: int = 1
    device: str = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    torch_threads: int = 1

    places: ClassVar[frozenset[str]] = frozenset({"device"})
    """Fields that say where something is, and may differ when a finished run is used."""

    extendable: ClassVar[frozenset[str]] = frozenset({"iterations"})
    """Fields that may differ when a run goes on."""

    def __post_init__(self) -> None:
        require("iterations", self.iterations >= 0, "at least 0", self.iterations)
        require("seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
        require("torch_threads", self.torch_threads > 0, "at least 1", self.torch_threads)

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        return []

    def schedule_end(self) -> str | None:
        """The option whose schedule ends at `iterations`, so that a run cannot be prolonged; None if there is none."""
        return None


class Gain(NamedTuple):
    """Metrics that tell whether adaptation helps: the gain, and the level that it starts from."""

    gain: str
    level: str


class MetricRoles(NamedTuple):
    """What a system's metrics are for.

    Attributes:
        selection: tells the best state, the higher the better. Reported by `iterate` it speaks of the state that came
            in; by `validate`, of the state that was validated. None where no state is the best, as of a learner that
            never starts afresh: then there is no `best`, and whatever uses a run takes the last one.
        learning_curve: is drawn over training.
        totals: are summed up from the run's beginning.
        gain: is watched, with a warning where it stays at zero; None where nothing adapts.
        groups: TensorBoard groups by the beginnings of metrics' names; others stand under "run", times under "time".
        schedules: metrics whose course over training is drawn, such as a learned discount, by the title of the panel
            that they share. Half the width of a metric's 95% interval over the run's seeds is drawn as a band where it
            is reported as ``<name>_interval95``.
        sums: are summed up like totals, and nothing is drawn over them, such as the reward of one lifetime.
    """

    selection: str | None
    learning_curve: str
    totals: tuple[str, ...] = ()
    gain: Gain | None = None
    groups: Mapping[str, str] = {}  # never changed
    schedules: Mapping[str, tuple[str, ...]] = {}
    sums: tuple[str, ...] = ()


class Scene(NamedTuple):
    """One task to film, and who plays after which number of steps. Each plays one episode, in this order."""

    task: Task
    players: list[tuple[int, Player]]


class Renderer(Protocol):
    """Films adapted policies."""

    @property
    def environment(self) -> EnvironmentConfig:
        """Of held-out tasks."""

    @property
    def axis(self) -> str:
        """What steps of adaptation are called."""

    @property
    def default_steps(self) -> Sequence[int]:
        """Numbers of steps that are filmed where nothing is said."""

    def scenes(
        self, state: State, steps: Sequence[int], tasks: int | Sequence[Task], episodes: int | None, seed: int
    ) -> list[Scene]:
        """Adapts to tasks, drawn ones where a number is given, with `episodes` per step."""


class Exported(NamedTuple):
    """An adapted policy as a model of Stable-Baselines3.

    Attributes:
        model: the model.
        returns: mean return of the episodes after each step of adaptation; empty where it did not adapt.
        horizon: steps after which every episode ends.
    """

    model: Any
    returns: list[float]
    horizon: int


class Exporter(Protocol):
    """Writes an adapted policy as a model of Stable-Baselines3."""

    @property
    def environment(self) -> EnvironmentConfig:
        """Of held-out tasks."""

    @property
    def default_steps(self) -> int:
        """Steps of adaptation where nothing is said."""

    def export(self, state: State, task: Task | None, steps: int, episodes: int | None, seed: int) -> Exported:
        """The policy after `steps` steps on the task, or before adaptation where there is none.

        Raises:
            ValueError: a policy that such a model cannot hold.
        """


OptionsT = TypeVar("OptionsT", bound=EvaluationOptions)
ConfigT = TypeVar("ConfigT", bound=RunConfig)


class System(Protocol[ConfigT, OptionsT]):
    """One way of learning to adapt. Making one is cheap; `prepare` makes what training needs.

    Classes that extend this one write `initial_state`, `iterate` and `evaluate`, and have the defaults below.

    Attributes:
        Options: the options of its evaluation.
        config: its configuration.
        measure: what evaluations measure.
        roles: what its metrics are for.
        tasks_name: the task distribution, in a word.
        keep: how many of the best states are kept.
        report_every: iterations that share a row of metrics and a checkpoint.
    """

    Options: type[OptionsT]
    config: ConfigT
    measure: Measure
    roles: MetricRoles
    tasks_name: str
    keep: int = 1
    report_every: int = 1

    def prepare(self) -> None:
        """Makes what training needs and tries it out.

        Raises:
            ValueError: data, environments or options that do not go together.
        """

    @abstractmethod
    def initial_state(self) -> State:
        """The state before the first iteration."""

    def state_template(self) -> State:
        """A state with the names, shapes and types of every other, which loaded ones are held against."""
        return self.initial_state()

    @abstractmethod
    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """The next state, and metrics of the one that came in, which is left as it is."""

    def validate(self, state: State, iteration: int) -> Metrics:
        """Metrics of the state that `iteration` iterations made, always under the same names; nan where not due.

        Their names begin with ``validation_``.

        The selection metric is -inf where it is due and not finite.
        """
        return {}

    def row(self, means: Metrics, state: State) -> Metrics:
        """What `progress.csv` says of the iterations that share a row, from the mean of each of their metrics and the
        state behind the last of them.

        The means where nothing is said. Intervals of these means, for one, cannot be had from single iterations.
        """
        return means

    def summary(self, metrics: Metrics) -> str:
        """A few words for the progress bar."""
        return f"{self.roles.learning_curve} {metrics.get(self.roles.learning_curve, float('nan')):.4g}"

    def resolve(self, options: OptionsT) -> OptionsT:
        """The options with this system's own values where nothing is given.

        Raises:
            ValueError: options that do not go together, or not with this configuration.
        """
        return options

    @abstractmethod
    def evaluate(self, states: Sequence[State], options: OptionsT, progress: Progress | None = None) -> Evaluation:
        """Adapts to held-out tasks and measures after each step.

        Args:
            states: `options.states` of them, the best first.
            options: resolved ones.
            progress: called as the work goes on.
        """

    def renderer(self) -> Renderer | None:
        """What films its policies; None where there are none to film."""
        return None

    def exporter(self) -> Exporter:
        """What exports its policies.

        Raises:
            ValueError: there are none, or none that Stable-Baselines3 could hold; the message says which.
        """
        raise ValueError("it has no policy to export.")

    def data_identity(self) -> dict[str, str]:
        """What tells the training data from others, by name; nothing where the configuration says it all."""
        return {}

    def close(self) -> None:
        """Frees what the system holds."""
        return None
