"""The numbers of docs/results by name: what a field such as `{2d-navigation/seed-? best; 0 1 2 3; .2f}` stands for."""

import csv
import fnmatch
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.run.errors import UsageError

Row = dict[str, str]


class StoredNumbers:
    """The tables of a results folder.

    Args:
        folder: holds a folder for each experiment, with `results.csv`, `curves.csv` and perhaps `tasks.csv`, and
            `benchmark.json`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[Path, list[Row]] = {}

    def filled(self, template: str, joiner: str) -> str:
        """The text with a number, or several with a joiner between, in the place of each field."""
        return re.sub(r"\{([^{}]+)\}", lambda match: joiner.join(self.numbers(match[1])), template)

    def numbers(self, field: str) -> list[str]:
        """What a field stands for, one text for each of its columns.

        Raises:
            UsageError: it names no stored number.
        """
        source, *rest = (part.strip() for part in field.split(";"))
        try:
            columns, style = rest[0].split(), rest[-1].split()
            if source == "benchmark":
                return [shown([self.benchmark(name)], style) for name in columns]
            if source.startswith("curve "):
                return self._of_curves(source.removeprefix("curve "), rest[0], rest[1].split(), style)
            rows = self.evaluations(source)
            return [_value(rows, column, style) for column in columns]
        except (LookupError, OSError, ValueError) as error:
            raise UsageError(
                f"the field {{{field}}} names no stored number ({type(error).__name__}: {error})."
            ) from error

    def matching(self, path: str, table: str) -> list[Row]:
        """Rows of an experiment's table whose run matches: `experiment/run`, with `?` and `*` in the run.

        Raises:
            LookupError: there is none.
        """
        experiment, _, run = path.partition("/")
        rows = [row for row in self._read(experiment, table) if fnmatch.fnmatchcase(row["run"], run)]
        if not rows:
            raise LookupError(f"no run {run} in {experiment}/{table}.csv")
        return rows

    def evaluations(self, source: str) -> list[Row]:
        """Rows of `results.csv`: `experiment/run evaluation`, after a colon the measure where it is not the first.

        Raises:
            LookupError: there is none.
        """
        path, evaluation = source.split(maxsplit=1)
        evaluation, _, measure = evaluation.partition(":")
        rows = [row for row in self.matching(path, "results") if row["evaluation"] == evaluation]
        measure = measure or (rows[0].get("measure", "") if rows else "")
        rows = [row for row in rows if row.get("measure", "") == measure]
        if not rows:
            raise LookupError(f"no evaluation {source}")
        return rows

    def benchmark(self, name: str) -> float:
        """A number of `benchmark.json`: `section.number`, or `160000/section.number` for how long so many take."""
        count, _, rate = name.rpartition("/")
        section, _, key = rate.partition(".")
        number = float(self._benchmark[section][key])
        return float(count) / number if count else number

    def _of_curves(self, path: str, column: str, where: Sequence[str], style: Sequence[str]) -> list[str]:
        """The mean of each run's last rows, the median of all rows, or the rows of some iterations."""
        rows = self.matching(path, "curves")
        if where[0] == "median":
            return [shown([float(np.median([float(row[column]) for row in rows]))], style)]
        if where[0] == "last":
            runs = dict.fromkeys(row["run"] for row in rows)
            ends = [[float(row[column]) for row in rows if row["run"] == run][-int(where[1]) :] for run in runs]
            return [shown([float(np.mean(end)) for end in ends], style)]
        by_iteration = {row["iteration"]: row for row in rows}
        return [shown([float(by_iteration[iteration][column])], style) for iteration in where]

    def _read(self, experiment: str, table: str) -> list[Row]:
        path = self.folder / experiment / f"{table}.csv"
        if path not in self._tables:
            with path.open(encoding="utf-8", newline="") as file:
                self._tables[path] = list(csv.DictReader(file))
        return self._tables[path]

    @cached_property
    def _benchmark(self) -> dict[str, Any]:
        return json.loads((self.folder / "benchmark.json").read_text(encoding="utf-8"))


def shown(values: Sequence[float], style: Sequence[str], width: float | None = None) -> str:
    """Mean, or smallest, of the values in a style such as `.2f ±`, with half the width of an interval.

    Raises:
        ValueError: an interval is asked for, and the values are of several runs.
    """
    if "±" in style and width is None:
        raise ValueError("± goes with a value of one run")
    scale = 1e-6 if "M" in style else 100.0 if "x100" in style else 1.0
    parts = [min(values) if "min" in style else float(np.mean(values))]
    parts += [width] if width is not None else [float(np.std(values, ddof=1))] if "sd" in style else []
    return " ± ".join(format(scale * part, style[0]) for part in parts) + (" M" if "M" in style else "")


def _value(rows: Sequence[Row], column: str, style: Sequence[str]) -> str:
    """A column as text: `2` is the value after two steps, `1-0` a difference, anything else a column's name."""
    if style == ["words"]:
        return rows[0][column].replace("|", "\\|")  # as it stands in a table
    if not column[0].isdigit():
        return shown([float(row[column]) for row in rows], style)
    step, _, base = column.partition("-")
    values = [float(row[f"value_{step}"]) - (float(row[f"value_{base}"]) if base else 0.0) for row in rows]
    width = float(rows[0][f"interval_{step}"]) if "±" in style and len(rows) == 1 and not base else None
    return shown(values, style, width)
