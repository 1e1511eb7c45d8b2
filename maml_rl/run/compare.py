"""Runs side by side: learning curves over iterations and over time, and what gradient steps bring on held-out tasks."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.errors import UsageError
from maml_rl.run.figure import save_figure

__all__ = ["Adaptation", "Learning", "draw_adaptation", "draw_learning", "read_adaptation", "read_learning"]

MEASURES = ("return", "accuracy", "error")
_AXES = {"error": "mean squared error"}


class Learning(NamedTuple):
    """A run's learning curve.

    Attributes:
        name: what the run is called.
        measure: of held-out tasks: "validation accuracy", "validation error", or of training: "return after".
        iterations: done at each point, [P].
        minutes: spent until then, [P].
        values: [P].
    """

    name: str
    measure: str
    iterations: NDArray[np.float64]
    minutes: NDArray[np.float64]
    values: NDArray[np.float64]


class Adaptation(NamedTuple):
    """An evaluation's mean over held-out tasks.

    Attributes:
        name: what the run is called.
        measure: "return", "accuracy" or "error".
        means: after 0 to K gradient steps, [K + 1].
        intervals: half the widths of their 95% intervals; nan for one task.
        tasks: which tasks they were.
    """

    name: str
    measure: str
    means: NDArray[np.float64]
    intervals: NDArray[np.float64]
    tasks: list[dict[str, Any]]


def read_learning(folder: Path, name: str) -> Learning | None:
    """The learning curve in the folder's `progress.csv`; None if it has none, or no point of one yet.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / "progress.csv"
    if not path.is_file():
        return None
    try:
        with path.open(newline="") as file:
            rows = [
                {key: float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
                if None not in row.values()
            ]
        columns = list(rows[0])
        validation = [f"validation_{measure}" for measure in MEASURES if f"validation_{measure}" in columns]
        column = validation[0] if validation else "return_after"
        iterations = np.array([row["iteration"] + 1 for row in rows])
        seconds = np.array([_seconds(row) for row in rows]) * np.diff(iterations, prepend=0)
        seconds += np.array([row.get("validation_s", 0.0) for row in rows])
        values = np.array([row[column] for row in rows])
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    known = ~np.isnan(values)
    if not known.any():
        return None
    return Learning(name, column.replace("_", " "), iterations[known], (seconds.cumsum() / 60)[known], values[known])


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
        return Adaptation(name, measure, means, widths, content["tasks"])
    except (OSError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error


def draw_learning(curves: Sequence[Learning], path: Path) -> Path:
    """Two panels: over meta-iterations and over minutes.

    Raises:
        RunFault: the file cannot be written.
    """

    def draw(figure: Any) -> None:
        for axes, horizontal in zip(figure.subplots(1, 2, sharey=True), ("iterations", "minutes"), strict=True):
            for curve in curves:
                axes.plot(getattr(curve, horizontal), curve.values, label=curve.name)
            axes.set_xlabel({"iterations": "meta-iterations", "minutes": "minutes of training"}[horizontal])
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel(curves[0].measure)
        figure.axes[1].legend(fontsize=8)

    return save_figure(draw, (11, 4), path)


def draw_adaptation(curves: Sequence[Adaptation], path: Path, log: bool = False) -> Path:
    """Means over held-out tasks with their 95% intervals, over gradient steps.

    Raises:
        RunFault: the file cannot be written.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for curve in curves:
            steps = np.arange(len(curve.means))
            if len(steps) == 1:  # no step was taken: a level to hold the others against
                axes.axhline(curve.means[0], linestyle="--", color="#7f7f7f", label=curve.name)
            else:
                widths = np.nan_to_num(curve.intervals)
                axes.errorbar(steps, curve.means, widths, marker="o", markersize=4, capsize=3, label=curve.name)
        axes.set_yscale("log" if log else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("gradient steps")
        axes.set_ylabel(_AXES.get(curves[0].measure, curves[0].measure))
        axes.grid(alpha=0.3, which="both" if log else "major")
        axes.legend(fontsize=8)

    return save_figure(draw, (6.5, 4.5), path)


def _seconds(row: dict[str, float]) -> float:
    """An iteration's seconds: told as a whole, or by parts."""
    parts = [value for key, value in row.items() if key.endswith("_s") and key != "steps_per_s"]
    return row.get("iteration_s", sum(parts))
