"""The page's tables: every run in a row, seconds by part, and the settings that differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maml_rl.run.horizontals import total_label
from maml_rl.run.report.differences import DASH, differences
from maml_rl.run.report.gather import Run
from maml_rl.systems.evaluation import Measure

__all__ = ["Table", "configuration_table", "counted", "overview_table", "plural", "seconds_table"]

_LIBRARIES = ("maml_rl", "python", "torch", "numpy", "mujoco", "cuda_device")
_STEPS = (0, 1, 2, 3, 5, 10, 20, 50, 100)


class Table(NamedTuple):
    """Cells as text; the first of each row names it.

    Attributes:
        caption: what the table is of.
        head: names of the columns.
        rows: as long as the head, each.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def overview_table(runs: Sequence[Run]) -> Table:
    """Every run: what it trained on, how long, how well, and its evaluation after each number of steps."""
    adaptations = [run.adaptation for run in runs if run.adaptation]
    steps = _shown_steps(max((len(adaptation.means) for adaptation in adaptations), default=0))
    measure = adaptations[0].measure.name if adaptations else ""
    axis = " or ".join(dict.fromkeys(adaptation.axis for adaptation in adaptations))
    curve = next((run.learning.label for run in runs if run.learning), "value")
    totals = list(dict.fromkeys(column for run in runs if run.learning for column in run.learning.totals))
    head = ["run", "system", "task", "seed", "iterations", *map(total_label, totals), "minutes"]
    head += [f"final {curve}", f"best {curve}", "evaluation of"]
    head += [f"{measure} after {counted(step, axis)}" for step in steps] + ["versions"]
    rows = [[*_origin(run), *_training(run, totals), *_evaluated(run, steps), _versions(run)] for run in runs]
    return Table("runs", head, rows)


def seconds_table(rows: Sequence[tuple[str, dict[str, float]]], parts: Sequence[str]) -> Table:
    """Mean seconds of a meta-iteration of each run by what they were spent on."""
    head = ["run", *(f"{part} (s)" for part in parts), "together (s)"]
    cells = [
        [name, *(f"{values[part]:.3g}" if part in values else DASH for part in parts), f"{sum(values.values()):.3g}"]
        for name, values in rows
    ]
    return Table("seconds", head, cells)


def configuration_table(runs: Sequence[Run]) -> Table:
    """The settings that are not the same in all runs that have a configuration; no row where all are."""
    head = ["setting", *(run.name for run in runs if run.config)]
    return Table("differing settings", head, [[key, *values] for key, values in differences(runs).items()])


def counted(count: int, axis: str) -> str:
    """``counted(1, "gradient steps")`` is "1 gradient step"."""
    return f"{count} {axis.removesuffix('s') if count == 1 else axis}"


def plural(count: int, word: str) -> str:
    """``plural(2, "run")`` is "2 runs"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def _origin(run: Run) -> list[str]:
    return [run.name, run.system or DASH, run.task or DASH, DASH if run.seed is None else str(run.seed)]


def _training(run: Run, totals: Sequence[str]) -> list[str]:
    """Iterations, totals, minutes, final and best value of the training curve."""
    if not run.rows:
        return [DASH] * (4 + len(totals))
    last = run.rows[-1]
    counts = [f"{last[total]:,.0f}" if total in last else DASH for total in totals]
    counts = [f"{last['iteration'] + 1:,.0f}", *counts]
    if run.learning is None:
        return [*counts, *[DASH] * 3]
    values = (float(run.learning.values[-1]), run.learning.best)
    measure = run.learning.measure
    return [*counts, f"{run.learning.minutes[-1]:.1f}", *(_number(value, measure) for value in values)]


def _evaluated(run: Run, steps: Sequence[int]) -> list[str]:
    """What was evaluated, and mean and interval after each of the steps."""
    adaptation = run.adaptation
    if adaptation is None:
        return [DASH, *[DASH for _ in steps]]
    state = str(adaptation.settings.get("checkpoint") or "")
    parts = (f"{state} state" if state else "", f"in {run.place}/" if run.place else "")
    numbers = [
        _plus_minus(adaptation.means[step], adaptation.intervals[step], adaptation.measure)
        if step < len(adaptation.means)
        else DASH
        for step in steps
    ]
    return [", ".join(part for part in parts if part) or DASH, *numbers]


def _versions(run: Run) -> str:
    return ", ".join(f"{name} {run.versions[name]}" for name in _LIBRARIES if run.versions.get(name)) or DASH


def _shown_steps(count: int) -> list[int]:
    return [step for step in range(count) if count <= 12 or step in (*_STEPS, count - 1)]


def _number(value: float, measure: Measure) -> str:
    return f"{value:.{measure.digits}f}" if abs(value) < 1e6 else f"{value:.3g}"


def _plus_minus(mean: float, width: float, measure: Measure) -> str:
    if np.isnan(mean):
        return "diverged"
    return _number(mean, measure) if np.isnan(width) else f"{_number(mean, measure)} ± {_number(width, measure)}"
