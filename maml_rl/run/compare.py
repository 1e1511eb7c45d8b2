"""What run folders say of themselves: learning curves, seconds, and evaluations on held-out tasks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.errors import UsageError
from maml_rl.run.progress import CurveColumns, damaged, measure_of, read_columns, read_progress
from maml_rl.systems.evaluation import Measure
from maml_rl.systems.system import is_time

__all__ = [
    "Adaptation",
    "Learning",
    "learning_of",
    "read_adaptation",
    "read_learning",
    "require_alike",
    "seconds_by_part",
]

Array = NDArray[np.float64]
_INTERVAL = "_interval95"  # ends the name of half the width of a metric's 95% interval over the run's seeds


class Learning(NamedTuple):
    """A run's learning curve, or the course of another metric over training, P points long.

    Attributes:
        name: what the run is called.
        measure: what the system measures.
        column: of `progress.csv`, that the values are from.
        values: [P].
        iterations: done at each point, [P].
        minutes: spent until then, [P].
        totals: what was summed up until then, by column, each [P].
        widths: half of the 95% intervals over the seeds of a run that holds several, [P], nan where not known; None
            where the run reports none.
    """

    name: str
    measure: Measure
    column: str
    values: Array
    iterations: Array
    minutes: Array
    totals: Mapping[str, Array] = {}  # never changed
    widths: Array | None = None

    @property
    def label(self) -> str:
        """What the values are, in words."""
        return self.column.replace("_", " ")

    @property
    def best(self) -> float:
        """The highest value, or the lowest where lower is better."""
        return float(self.values.max() if self.measure.higher_is_better else self.values.min())


class Adaptation(NamedTuple):
    """An evaluation's means over held-out tasks.

    Attributes:
        name: what the run is called.
        measure: what was measured.
        means: after 0 to K steps of adaptation, [K + 1].
        intervals: half the widths of their 95% intervals; nan for one task.
        axis: what the numbers 0 to K count.
        task_count: how many tasks.
        task_digest: the same for the same tasks.
        also: means and intervals of other measures by name, each [K + 1].
        references: numbers to hold the means against, by name.
        protocol: what a task's value is a mean of, in words.
        settings: how the evaluation was done.
    """

    name: str
    measure: Measure
    means: Array
    intervals: Array
    axis: str = "gradient steps"
    task_count: int = 1
    task_digest: str = ""
    also: Mapping[str, tuple[Array, Array]] = {}  # never changed
    references: Mapping[str, float] = {}
    protocol: str = ""
    settings: Mapping[str, Any] = {}


def read_learning(folder: Path, name: str) -> Learning | None:
    """The learning curve in the folder's `progress.csv`; None if it has none, or no point of one yet.

    Raises:
        UsageError: a file is damaged, or the run was made by an older version.
    """
    progress = read_progress(folder)
    return None if progress is None else learning_of(progress.rows, read_columns(folder), name)


def learning_of(rows: Sequence[Mapping[str, float]], columns: CurveColumns, name: str) -> Learning | None:
    """The learning curve in rows of a `progress.csv`; None if it has no point yet.

    Raises:
        UsageError: a column is missing.
    """
    if not rows:
        return None
    missing = [column for column in (columns.learning_curve, *columns.totals) if column not in rows[0]]
    if missing:
        raise UsageError(f"the progress.csv of {name} is damaged: it has no column {missing[0]!r}.")
    values = np.array([row[columns.learning_curve] for row in rows])
    known = ~np.isnan(values)
    if not known.any():
        return None
    iterations = np.array([row["iteration"] + 1 for row in rows])
    seconds = np.array([_seconds(row) for row in rows]) * np.diff(iterations, prepend=0)
    seconds += _finite([row.get("validation_s", 0.0) for row in rows])
    totals = {column: np.array([row[column] for row in rows])[known] for column in columns.totals}
    minutes = seconds.cumsum() / 60
    measure, column, interval = columns.measure, columns.learning_curve, f"{columns.learning_curve}{_INTERVAL}"
    widths = np.array([row[interval] for row in rows])[known] if interval in rows[0] else None
    return Learning(name, measure, column, values[known], iterations[known], minutes[known], totals, widths)


def seconds_by_part(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean seconds of a meta-iteration by what they were spent on; the parts do not overlap.

    Columns that end in ``_s`` are seconds. `iteration_s` is a whole iteration, of which the others are parts and the
    rest is told apart; `validation_s` comes on top, once in a row whatever number of iterations that has.
    """
    if not rows:
        return {}
    counts = np.diff([row["iteration"] + 1 for row in rows], prepend=0)

    def mean(column: str) -> float:
        return float(_finite([row.get(column, np.nan) for row in rows]) @ counts / counts.sum())

    names = [name for name in rows[0] if is_time(name) and name not in ("iteration_s", "validation_s")]
    parts = {name.removesuffix("_s").replace("_", " "): mean(name) for name in names}
    if "iteration_s" in rows[0]:
        parts["rest of the iteration"] = max(mean("iteration_s") - sum(parts.values()), 0.0)
    if "validation_s" in rows[0]:
        parts["validation"] = float(_finite([row["validation_s"] for row in rows]).sum() / counts.sum())
    return parts


def read_adaptation(folder: Path, name: str) -> Adaptation | None:
    """What the folder's `evaluation.json` says; None if it has none.

    Raises:
        UsageError: the file is damaged, or was written by an older version.
    """
    path = folder / "evaluation.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "measure" not in content:
            raise UsageError(f"{path} was written by an older version: evaluate the run again.")
        means, widths = _means_and_intervals(content)
        return Adaptation(
            name,
            measure_of(content),
            means,
            widths,
            str(content["axis"]),
            int(content["tasks"]["count"]),
            str(content["tasks"]["digest"]),
            {other: _means_and_intervals(entry) for other, entry in content["also"].items()},
            {
                reference: np.nan if value is None else float(value)
                for reference, value in content["references"].items()
            },
            str(content["protocol"]),
            dict(content["settings"]),
        )
    except UsageError:
        raise
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def require_alike(learning: Sequence[Learning], adaptation: Sequence[Adaptation]) -> None:
    """Raises `UsageError` if the curves do not measure the same, such as returns in one and errors in another."""
    measures = {curve.measure.name: curve.name for curve in learning}
    measures |= {curve.measure.name: curve.name for curve in adaptation}
    if len(measures) > 1:
        listed = ", ".join(f"{measure} in {name}" for measure, name in measures.items())
        raise UsageError(f"these runs cannot be compared, they measure different things: {listed}.")


def _means_and_intervals(content: Mapping[str, Any]) -> tuple[Array, Array]:
    """Both as arrays, [K + 1], with nan for null."""
    means, widths = (np.array(content[part], float) for part in ("mean", "interval95"))
    if means.ndim != 1 or means.shape != widths.shape or not len(means):
        raise ValueError("its means and intervals are not lists of one length")
    return means, widths


def _seconds(row: Mapping[str, float]) -> float:
    """An iteration's seconds: told as a whole, or by parts."""
    parts = [value for name, value in row.items() if is_time(name) and name != "validation_s"]
    return row.get("iteration_s", float(_finite(parts).sum()))


def _finite(values: Sequence[float]) -> Array:
    """The numbers, with 0 for those that are not known."""
    return np.nan_to_num(np.array(values, float), posinf=0.0, neginf=0.0)
