"""Runs that differ in their seed only as one: means over seeds with intervals."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from maml_rl.run.compare import Adaptation, Learning
from maml_rl.run.horizontals import Horizontal
from maml_rl.run.report.gather import Run

__all__ = [
    "CHANCE",
    "Curve",
    "Group",
    "adaptation_of",
    "grouped",
    "half_width",
    "joined",
    "mean_adaptation",
    "mean_course",
    "mean_curve",
]

Array = NDArray[np.float64]
CHANCE = ("seed", "torch_threads")
"""What repetitions of a run may differ in."""


class Group(NamedTuple):
    """Runs that are repetitions of each other.

    Attributes:
        name: what they are called together.
        runs: at least one.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def adaptations(self) -> list[Adaptation]:
        """The evaluations that there are."""
        return [run.adaptation for run in self.runs if run.adaptation is not None]


class Curve(NamedTuple):
    """A mean and half the width of its 95% interval.

    Attributes:
        places: where, [P].
        means: [P].
        widths: [P]; None where nothing is known of them.
        over: what the interval is over: "seeds", "tasks", or empty for none.
    """

    places: Array
    means: Array
    widths: Array | None
    over: str


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs of one label, or where there are no labels runs whose configurations differ in their seed only."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_key(run), []).append(run)
    names = _group_names([[run.name for run in group] for group in members.values()])
    return [Group(group[0].label or name, tuple(group)) for group, name in zip(members.values(), names, strict=True)]


def _group_names(members: Sequence[Sequence[str]]) -> list[str]:
    """The folder that the runs of a group, and none of another, are in; otherwise their names in a row."""
    shared = [_shared_folder(names) for names in members]
    return [
        folder if folder and len(names) > 1 and shared.count(folder) == 1 else joined(names)
        for folder, names in zip(shared, members, strict=True)
    ]


def _shared_folder(names: Sequence[str]) -> str:
    folders = {name.rpartition("/")[0] for name in names}
    return folders.pop() if len(folders) == 1 else ""


def _key(run: Run) -> str:
    if run.label is not None:
        return run.label
    if not run.config:
        return str(run.folder.resolve())
    return json.dumps({name: value for name, value in run.config.items() if name not in CHANCE}, default=str)


def joined(names: Sequence[str], most: int = 48) -> str:
    """The names in a row, or the first and the last of many."""
    whole = ", ".join(names)
    return whole if len(whole) <= most or len(names) < 3 else f"{names[0]} to {names[-1]}"


def half_width(values: Array) -> Array:
    """Half the width of the 95% interval of the mean over seeds by Student's t, [S, P] to [P]; nan for one seed."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1:], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # of a seed that diverged; a chart leaves the place out
        return stats.t.ppf(0.975, count - 1) * values.std(0, ddof=1) / np.sqrt(count)


def mean_curve(curves: Sequence[tuple[Array, Array]]) -> Curve:
    """The mean of curves of (places, values), where all of them have some.

    Curves at different places are interpolated between their points.
    """
    if len(curves) == 1:
        return Curve(*curves[0], None, "")
    first, last = max(places[0] for places, _ in curves), min(places[-1] for places, _ in curves)
    union = np.unique(np.concatenate([places for places, _ in curves]))
    grid = union[(union >= first) & (union <= last)]
    values = np.array([np.interp(grid, places, values) for places, values in curves])
    with np.errstate(invalid="ignore", over="ignore"):
        return Curve(grid, values.mean(0), half_width(values), "seeds")


def mean_course(curves: Sequence[Learning], horizontal: Horizontal) -> Curve | None:
    """The mean of a group's curves over training, of those that count `horizontal`; None where there are none.

    Its interval is over the runs where there are several, otherwise the run's own, over the seeds within it.
    """
    placed = [(places, curve) for curve in curves if (places := horizontal.places(curve)) is not None]
    if not placed:
        return None
    mean = mean_curve([(places, curve.values) for places, curve in placed])
    own = placed[0][1].widths
    return mean if len(placed) > 1 or own is None else mean._replace(widths=own, over="seeds")


def mean_adaptation(adaptations: Sequence[Adaptation], other: str = "") -> Curve | None:
    """The mean over steps of adaptation that all of a group's evaluations have; None if there are none.

    Its interval is over seeds where there are several, otherwise over the evaluation's tasks.

    Args:
        adaptations: of runs that are repetitions of each other.
        other: name of another measure than the evaluations' main one; those that have it are counted.
    """
    pairs = [
        adaptation.also[other] if other else (adaptation.means, adaptation.intervals)
        for adaptation in adaptations
        if not other or other in adaptation.also
    ]
    if not pairs:
        return None
    if len(pairs) == 1:
        means, widths = pairs[0]
        return Curve(np.arange(len(means), dtype=float), means, widths, "tasks")
    count = min(len(means) for means, _ in pairs)
    values = np.array([means[:count] for means, _ in pairs])
    return Curve(np.arange(count, dtype=float), values.mean(0), half_width(values), "seeds")


def adaptation_of(group: Group) -> Adaptation | None:
    """A group's mean adaptation curve under the group's name; None if its runs have none."""
    curve = mean_adaptation(group.adaptations)
    if curve is None:
        return None
    widths = np.full_like(curve.means, np.nan) if curve.widths is None else curve.widths
    return group.adaptations[0]._replace(name=group.name, means=curve.means, intervals=widths)
