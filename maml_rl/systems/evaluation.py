"""What an evaluation on held-out tasks measured, whatever the system: values, what they mean, and pictures to draw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evaluation", "EvaluationOptions", "Figure", "Measure", "Progress", "mean_of_finite"]

Progress = Callable[[int, int], Any]
"""``progress(done, total)`` is called as work goes on."""


class Measure(NamedTuple):
    """What is measured on a task.

    Attributes:
        name: as files and tables call it, such as "return".
        higher_is_better: the direction.
        label: as figures call it; the name where nothing is given.
        digits: behind the point, in tables.
    """

    name: str
    higher_is_better: bool
    label: str = ""
    digits: int = 4

    @property
    def title(self) -> str:
        """The label, or the name for lack of one."""
        return self.label or self.name


class Figure(NamedTuple):
    """A picture that belongs to an evaluation: ``draw(figure)`` fills a matplotlib figure of this size in inches."""

    draw: Callable[[Any], None]
    size: tuple[float, float]


@dataclass(frozen=True)
class EvaluationOptions:
    """What every evaluation has; a system's own options extend it.

    Attributes:
        steps: of adaptation, whatever training used; the system's own where nothing is given.
        tasks: held-out tasks; the system's own number where nothing is given.
        seed: of the held-out tasks, apart from anything that training draws.
    """

    steps: int | None = None
    tasks: int | None = None
    seed: int = 1000

    def __post_init__(self) -> None:
        for name, least in self.least().items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {"steps": 0, "tasks": 1, "seed": 0}

    @property
    def states(self) -> int:
        """How many of the run's best states are evaluated together, as an ensemble."""
        return 1


@dataclass(frozen=True)
class Evaluation:
    """What was measured on N held-out tasks after 0 to K steps of adaptation.

    Attributes:
        measure: what the values are.
        values: [K + 1, N, ...]; dimensions behind the tasks are repetitions, such as episodes.
        tasks: N of them, as dictionaries of plain values.
        axis: what the numbers 0 to K count.
        protocol: in a few words what a task's value is a mean of; ends the table.
        settings: how it was done; goes into the file.
        also: other measures by name, each [K + 1, N].
        references: numbers to hold the means against, such as the optimum, by name.
        figures: further pictures by file name.
        numbers: further results by name, such as one for each of the evaluation's problems; they go into the file.
    """

    measure: Measure
    values: NDArray[np.float64]
    tasks: Sequence[Mapping[str, Any]]
    axis: str = "gradient steps"
    protocol: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    also: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    references: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.values, np.ndarray) or self.values.ndim < 2:
            raise ValueError(
                f"`values` of an evaluation must be a numpy array [K + 1, N, ...], got {self.values!r}."[:200]
            )
        if len(self.tasks) != self.values.shape[1]:
            raise ValueError(
                f"`values` of an evaluation must be [K + 1, N, ...] with N = {len(self.tasks)} tasks, got "
                f"{list(self.values.shape)}."
            )
        if not all(isinstance(task, Mapping) for task in self.tasks):
            raise ValueError("`tasks` of an evaluation must be dictionaries, one for each task.")

    @property
    def per_task(self) -> NDArray[np.float64]:
        """The mean over repetitions, those left out that are not finite, [K + 1, N]; nan where none is."""
        return mean_of_finite(self.values.reshape(*self.values.shape[:2], -1))


def mean_of_finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the finite ones of values [..., R] over the last dimension; nan where there is none."""
    finite = np.isfinite(values)
    counts = finite.sum(-1)
    sums = np.where(finite, values, 0).sum(-1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
