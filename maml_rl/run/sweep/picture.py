"""The picture of a sweep: what its trials brought, over each parameter."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maml_rl.run.figure import save_figure
from maml_rl.run.sweep.options import Options
from maml_rl.run.sweep.space import written
from maml_rl.run.sweep.trial_results import Trial, ranked

__all__ = ["draw"]

_COLOURS = {"complete": "#1f77b4", "pruned": "#aaaaaa", "failed": "#d62728", "best": "#ff7f0e"}


def draw(options: Options, trials: Sequence[Trial], path: Path) -> Path:
    """A panel for each parameter: means as dots, seeds as thin lines, the best in front, failures at the edge.

    Raises:
        RunFault: the file cannot be written.
    """
    names, best = sorted(options.space), ranked(options, trials)[0]
    columns = min(len(names), 3)
    rows = math.ceil(len(names) / columns)

    def fill(figure: Any) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        panels = list(grid.flat)
        for name, axes in zip(names, panels, strict=False):
            _fill_panel(axes, name, options.space[name], trials, best)
        for axes in grid[:, 0]:
            axes.set_ylabel(f"{options.metric}, mean over seeds")
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        figure.legend(handles=_legend(trials), loc="outside upper center", ncols=4, fontsize=8, frameon=False)

    return save_figure(fill, (4.0 * columns, 3.4 * rows + 0.4), path)


def _legend(trials: Sequence[Trial]) -> list[Any]:
    from matplotlib.lines import Line2D

    states = [state for state in _COLOURS if state == "best" or any(trial.state == state for trial in trials)]
    return [
        Line2D([], [], marker="x" if state == "failed" else "o", linestyle="", color=_COLOURS[state], label=state)
        for state in states
    ]


def _fill_panel(axes: Any, name: str, values: dict[str, list[Any]], trials: Sequence[Trial], best: Trial) -> None:
    ((scale, entries),) = values.items()
    labels = [written(entry) for entry in entries]
    if scale == "choice":
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    elif scale == "log_uniform":
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="minor", labelsize=7, labelrotation=45)  # labelled within a decade only
    for trial in trials:
        place = labels.index(written(trial.point[name])) if scale == "choice" else trial.point[name]
        if trial.state == "failed":
            axes.plot(place, 0.02, "x", color=_COLOURS["failed"], transform=axes.get_xaxis_transform())
        elif trial.state != "unfinished":
            color, order = _COLOURS["best" if trial is best else trial.state], 4 if trial is best else 3
            seeds = trial.seeds.values()
            axes.plot([place] * 2, [min(seeds), max(seeds)], color=color, linewidth=0.8)
            axes.plot(place, trial.value, "o", color=color, markersize=5, zorder=order)
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)
