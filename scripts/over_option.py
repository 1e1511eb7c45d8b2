#!/usr/bin/env python
"""Draws what evaluations end at over an option of their runs: python scripts/over_option.py --runs runs/a runs/b ...

Each run is a point: the value of the option in its configuration, and a measure of its `evaluation.json` after the last
step. A line goes through the means of the runs that have the same value, which are printed too.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.compare import Adaptation, read_adaptation
from maml_rl.run.errors import UsageError
from maml_rl.run.figure import save_figure
from maml_rl.run.folder import RunFolder


@dataclass(frozen=True)
class Options:
    """What to draw.

    Attributes:
        runs: folders of evaluated runs.
        option: a number in their configurations, by its dotted name, such as ``tasks.training``.
        output: the picture, a .png.
        measure: of the evaluations; the one that the system measures where nothing is given.
        log: whether the option's axis is logarithmic.
    """

    runs: list[str]
    option: str
    output: str
    measure: str | None = None
    log: bool = False


class Point(NamedTuple):
    """A run.

    Attributes:
        option: its value of the option.
        value: what its evaluation ends at.
        label: what that is.
    """

    option: float
    value: float
    label: str


def main(argv: Sequence[str]) -> int:
    """Writes the picture and prints the means."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    points = [point_of(Path(run), options) for run in options.runs]
    if not points:
        raise UsageError("`runs` must name at least one folder.")
    groups = by_value(points)
    for option, values in groups.items():
        spread = f"{min(values):.4g} to {max(values):.4g}"
        print(f"{options.option} {option:g}: {sum(values) / len(values):.4g}, {spread}, {len(values)} runs")
    path = save_figure(partial(draw, groups, points[0].label, options), (6, 4), Path(options.output))
    print(f"wrote {path}")
    return 0


def point_of(folder: Path, options: Options) -> Point:
    """What a run folder says.

    Raises:
        UsageError: it has no evaluation, no such option, or no such measure.
    """
    value: Any = RunFolder.open(folder).config
    for name in options.option.split("."):
        value = getattr(value, name, None)
    if not isinstance(value, (int, float)):
        raise UsageError(f"{folder}: `{options.option}` is not a number in its configuration, got {value!r}.")
    evaluation: Adaptation | None = read_adaptation(folder, folder.name)
    if evaluation is None:
        raise UsageError(f"{folder} has no evaluation: run scripts/evaluate.py --run {folder} first.")
    if options.measure is None:
        return Point(value, float(evaluation.means[-1]), evaluation.measure.title)
    if options.measure not in evaluation.also:
        raise UsageError(f"{folder}: `measure` must be one of {', '.join(evaluation.also)}, got {options.measure!r}.")
    return Point(value, float(evaluation.also[options.measure][0][-1]), options.measure.replace("_", " "))


def by_value(points: Sequence[Point]) -> dict[float, list[float]]:
    """The runs' values by the option's, in its order."""
    groups: dict[float, list[float]] = {}
    for point in sorted(points):
        groups.setdefault(point.option, []).append(point.value)
    return groups


def draw(groups: dict[float, list[float]], label: str, options: Options, figure: Any) -> None:
    """A dot for each run, and a line through the means."""
    axes = figure.subplots()
    for option, values in groups.items():
        axes.plot([option] * len(values), values, "o", color="tab:blue", alpha=0.5, markersize=5)
    axes.plot(list(groups), [sum(values) / len(values) for values in groups.values()], color="tab:blue", linewidth=2)
    if options.log:
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(groups), [f"{option:g}" for option in groups])
    axes.set_xlabel(options.option)
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    sys.exit(exit_code(main))
