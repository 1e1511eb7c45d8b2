"""The metrics of a run folder: the rows of `progress.csv`, and what `metrics.json` says of its columns."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_rl.run.errors import UsageError
from maml_rl.systems.evaluation import Measure

__all__ = ["CurveColumns", "Progress", "damaged", "measure_of", "read_columns", "read_progress"]


class Progress(NamedTuple):
    """What a `progress.csv` holds.

    Attributes:
        rows: its columns by name, a dictionary a row.
        half_written: whether a last row was left out because its writing was interrupted.
    """

    rows: list[dict[str, float]]
    half_written: bool


class CurveColumns(NamedTuple):
    """What a `metrics.json` says of the columns of `progress.csv`.

    Attributes:
        system: name of the system that wrote them.
        measure: what its evaluations measure, and which direction is better.
        learning_curve: the column that is drawn over training.
        totals: columns that are summed up from the run's beginning, such as environment steps.
        schedules: columns whose course over training is drawn, by the title of their panel.
        tasks_name: the task distribution, in a word; None in folders of versions that did not store it.
        sums: further columns that are summed up, which nothing is drawn over.
    """

    system: str
    measure: Measure
    learning_curve: str
    totals: tuple[str, ...] = ()
    schedules: Mapping[str, tuple[str, ...]] = {}  # never changed
    tasks_name: str | None = None
    sums: tuple[str, ...] = ()


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
        lines = list(csv.DictReader(io.StringIO(whole, newline="")))
        rows = [{key: float(value) for key, value in line.items()} for line in lines if None not in line.values()]
        if (np.diff([row["iteration"] for row in rows], prepend=-1) <= 0).any():
            raise ValueError("its iterations do not go up")
    except (OSError, LookupError, TypeError, ValueError, csv.Error) as error:
        raise damaged(path, error) from error
    return Progress(rows, len(whole) < len(text) or len(rows) < len(lines))


def read_columns(folder: Path) -> CurveColumns:
    """What the folder's `metrics.json` says of its `progress.csv`.

    Raises:
        UsageError: there is no such file, as in runs of older versions, or it is damaged.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        raise UsageError(
            f"{folder} has a progress.csv and no metrics.json: the run was made by an older version, train it again."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        totals = tuple(str(name) for name in content.get("totals", ()))
        schedules = {
            str(title): tuple(str(name) for name in names) for title, names in content.get("schedules", {}).items()
        }
        tasks_name = None if content.get("tasks_name") is None else str(content["tasks_name"])
        curve = str(content["learning_curve"])
        sums = tuple(str(name) for name in content.get("sums", ()))
        return CurveColumns(str(content["system"]), measure_of(content), curve, totals, schedules, tasks_name, sums)
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def measure_of(content: Mapping[str, Any]) -> Measure:
    """The measure that a file names.

    Raises:
        LookupError, ValueError: it names none.
    """
    name, higher_is_better = content["measure"], content["higher_is_better"]
    if not isinstance(name, str) or not isinstance(higher_is_better, bool):
        raise ValueError("its measure is not a name and a direction")
    return Measure(name, higher_is_better, str(content.get("label", "")), int(content.get("digits", 4)))


def damaged(path: Path, error: Exception) -> UsageError:
    """What is to be raised for a file that cannot be read."""
    return UsageError(f"{path} is damaged ({type(error).__name__}: {error}).")
