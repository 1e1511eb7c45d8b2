"""Runs side by side: learning curves over iterations and over time, and what gradient steps bring on held-out tasks."""

import csv
import io
import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.errors import UsageError
from maml_rl.run.figure import save_figure

__all__ = [
    "Adaptation",
    "Learning",
    "Progress",
    "draw_adaptation",
    "draw_learning",
    "learning_of",
    "read_adaptation",
    "read_learning",
    "read_progress",
    "require_alike",
    "seconds_by_part",
]

MEASURES = ("return", "accuracy", "error")
_AXES = {"error": "mean squared error"}
_HORIZONTAL = {"env_steps": "environment steps", "iterations": "meta-iterations", "minutes": "minutes of training"}


class Progress(NamedTuple):
    """What a `progress.csv` holds.

    Attributes:
        rows: its columns by name, a dictionary a row.
        half_written: whether a last row was left out because its writing was interrupted.
    """

    rows: list[dict[str, float]]
    half_written: bool


class Learning(NamedTuple):
    """A run's learning curve.

    Attributes:
        name: what the run is called.
        measure: of held-out tasks: "validation accuracy", "validation error", or of training: "return after".
        iterations: done at each point, [P].
        minutes: spent until then, [P].
        values: [P].
        env_steps: environment steps taken until then, [P]; None where there are none, as in supervised runs.
    """

    name: str
    measure: str
    iterations: NDArray[np.float64]
    minutes: NDArray[np.float64]
    values: NDArray[np.float64]
    env_steps: NDArray[np.float64] | None = None


class Adaptation(NamedTuple):
    """An evaluation's mean over held-out tasks.

    Attributes:
        name: what the run is called.
        measure: "return", "accuracy" or "error".
        means: after 0 to K gradient steps, [K + 1].
        intervals: half the widths of their 95% intervals; nan for one task.
        tasks: which tasks they were.
        settings: what else the file says of how it was done.
    """

    name: str
    measure: str
    means: NDArray[np.float64]
    intervals: NDArray[np.float64]
    tasks: list[dict[str, Any]]
    settings: dict[str, Any] = {}  # noqa: RUF012  # never changed

    @property
    def axis(self) -> str:
        """What the numbers 0 to K count."""
        return str(self.settings.get("axis", "gradient steps"))


def read_progress(folder: Path) -> Progress | None:
    """The rows of the folder's `progress.csv`; None if it has none.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / "progress.csv"
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a line without an end is not wholly written
        found = list(csv.DictReader(io.StringIO(whole, newline="")))
        rows = [{key: float(value) for key, value in row.items()} for row in found if None not in row.values()]
        if (np.diff([row["iteration"] for row in rows], prepend=-1) <= 0).any():
            raise ValueError("its iterations do not go up")
    except (OSError, LookupError, TypeError, ValueError, csv.Error) as error:
        raise _damaged(path, error) from error
    return Progress(rows, len(whole) < len(text) or len(rows) < len(found))


def read_learning(folder: Path, name: str) -> Learning | None:
    """The learning curve in the folder's `progress.csv`; None if it has none, or no point of one yet.

    Raises:
        UsageError: the file is damaged.
    """
    progress = read_progress(folder)
    try:
        return None if progress is None else learning_of(progress.rows, name)
    except LookupError as error:
        raise _damaged(folder / "progress.csv", error) from error


def learning_of(rows: Sequence[dict[str, float]], name: str) -> Learning | None:
    """The learning curve in rows of a `progress.csv`; None if it has no point yet.

    Raises:
        LookupError: a column is missing.
    """
    if not rows:
        return None
    validation = [f"validation_{measure}" for measure in MEASURES if f"validation_{measure}" in rows[0]]
    column = validation[0] if validation else "return_after"
    values = np.array([row[column] for row in rows])
    known = ~np.isnan(values)
    if not known.any():
        return None
    iterations = np.array([row["iteration"] + 1 for row in rows])
    seconds = np.array([_seconds(row) for row in rows]) * np.diff(iterations, prepend=0)
    seconds += _known([row.get("validation_s", 0.0) for row in rows])
    minutes = seconds.cumsum() / 60
    env_steps = np.array([row["env_steps"] for row in rows])[known] if "env_steps" in rows[0] else None
    return Learning(name, column.replace("_", " "), iterations[known], minutes[known], values[known], env_steps)


def seconds_by_part(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean seconds of a meta-iteration by what they were spent on; the parts do not overlap.

    Drawing tasks is a part of a supervised iteration, whose rest is told apart from it; validation comes on top.
    """
    if not rows:
        return {}
    counts = np.diff([row["iteration"] + 1 for row in rows], prepend=0)

    def mean(column: str) -> float:
        return float(_known([row.get(column, np.nan) for row in rows]) @ counts / counts.sum())

    whole = ("iteration_s", "validation_s", "steps_per_s")
    parts = {name[:-2].replace("_", " "): mean(name) for name in rows[0] if name.endswith("_s") and name not in whole}
    if "iteration_s" in rows[0]:
        parts["rest of the iteration"] = max(mean("iteration_s") - sum(parts.values()), 0.0)
    if "validation_s" in rows[0]:
        parts["validation"] = float(_known([row["validation_s"] for row in rows]).sum() / counts.sum())
    return parts


def read_adaptation(folder: Path, name: str) -> Adaptation | None:
    """What the folder's `evaluation.json` says; None if it has none.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / "evaluation.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measure = next(measure for measure in MEASURES if f"{measure}_mean" in content)
        # None, for a number that is not finite, becomes nan.
        means, widths = (np.array(content[f"{measure}_{part}"], float) for part in ("mean", "interval95"))
        if means.ndim != 1 or means.shape != widths.shape or not len(means) or not isinstance(content["tasks"], list):
            raise ValueError("means, intervals or tasks are not what they should be")
        settings = {key: value for key, value in content.items() if not key.endswith(("_mean", "_interval95"))}
        return Adaptation(name, measure, means, widths, settings.pop("tasks"), settings)
    except (OSError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def require_alike(learning: Sequence[Learning], adaptation: Sequence[Adaptation]) -> None:
    """Raises `UsageError` if the curves do not measure the same: returns, accuracies or errors."""
    known = [
        *((curve.measure, curve.name) for curve in learning),
        *((curve.measure, curve.name) for curve in adaptation),
    ]
    measures = {_kind(measure): name for measure, name in known}
    if len(measures) > 1:
        told = ", ".join(f"{measure} in {name}" for measure, name in measures.items())
        raise UsageError(f"these runs cannot be compared, they measure different things: {told}.")


def draw_learning(curves: Sequence[Learning], path: Path) -> Path:
    """Two panels: over environment steps, or meta-iterations where not all runs take steps, and over minutes.

    Raises:
        RunFault: the file cannot be written.
    """

    def draw(figure: Any) -> None:
        counted = "env_steps" if all(curve.env_steps is not None for curve in curves) else "iterations"
        for axes, horizontal in zip(figure.subplots(1, 2, sharey=True), (counted, "minutes"), strict=True):
            for curve in curves:
                axes.plot(getattr(curve, horizontal), curve.values, label=curve.name)
            axes.set_xlabel(_HORIZONTAL[horizontal])
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel(curves[0].measure)
        figure.axes[1].legend(fontsize=8)

    return save_figure(draw, (11, 4), path)


def draw_adaptation(curves: Sequence[Adaptation], path: Path, log: bool = False) -> Path:
    """Means over held-out tasks with their 95% intervals, over gradient steps.

    A curve of no step is drawn as a level to hold the others against.

    Raises:
        RunFault: the file cannot be written.
    """

    def draw(figure: Any) -> None:
        axes, dashes = figure.subplots(), cycle(("--", ":", "-."))
        moving = [curve.name for curve in curves if len(curve.means) > 1]
        apart = dict(zip(moving, np.linspace(-0.06, 0.06, len(moving)) if len(moving) != 1 else [0.0], strict=True))
        for curve in curves:
            steps = np.arange(len(curve.means)) + apart.get(curve.name, 0.0)  # so that no interval hides another
            if len(steps) == 1:
                axes.axhline(curve.means[0], linestyle=next(dashes), color="#555555", label=curve.name)
            else:
                widths = np.nan_to_num(curve.intervals)
                axes.errorbar(steps, curve.means, widths, marker="o", markersize=4, capsize=3, label=curve.name)
        axes.set_yscale("log" if log else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(" or ".join(dict.fromkeys(curve.axis for curve in curves)))
        axes.set_ylabel(_AXES.get(curves[0].measure, curves[0].measure))
        axes.grid(alpha=0.3, which="both" if log else "major")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)

    return save_figure(draw, (8, 4.5), path)


def _seconds(row: dict[str, float]) -> float:
    """An iteration's seconds: told as a whole, or by parts."""
    parts = [value for key, value in row.items() if key.endswith("_s") and key not in ("steps_per_s", "validation_s")]
    return row.get("iteration_s", float(_known(parts).sum()))


def _known(values: Sequence[float]) -> NDArray[np.float64]:
    """The numbers, with 0 for those that are not known."""
    return np.nan_to_num(np.array(values, float), posinf=0.0, neginf=0.0)


def _kind(measure: str) -> str:
    return next(kind for kind in MEASURES if kind in measure)


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is damaged ({type(error).__name__}: {error}).")
