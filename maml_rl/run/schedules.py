"""Schedules: courses over training of what a system learns or anneals, such as a discount, and their picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np

from maml_rl.run.compare import Learning, learning_of
from maml_rl.run.figure import save_figure
from maml_rl.run.horizontals import Horizontal, shared_by_all
from maml_rl.run.progress import CurveColumns, read_progress

__all__ = ["PICTURE", "Panel", "draw_course", "draw_schedules", "evenly_chosen", "panels_of", "shades"]

PICTURE = "schedules.png"
_UNORDERED = 4  # so many curves have colours that say nothing of their order
_MOST_NAMES = 10
_TICKS = (1, 2, 2.5, 5, 10)  # leading digits of their distances


class Panel(NamedTuple):
    """Courses that share their axes.

    Attributes:
        title: what they are, in words.
        metrics: names of those that the system declares for it.
        curves: of the metrics that have a number in some row.
    """

    title: str
    metrics: tuple[str, ...]
    curves: tuple[Learning, ...]


def panels_of(rows: Sequence[Mapping[str, float]], columns: CurveColumns, name: str) -> list[Panel]:
    """The panels of a run in which there is something to draw.

    Args:
        rows: of its `progress.csv`.
        columns: what they are.
        name: what the run is called.

    Raises:
        UsageError: a column is missing.
    """
    panels = []
    for title, metrics in columns.schedules.items():
        courses = [learning_of(rows, columns._replace(learning_curve=metric), name) for metric in metrics]
        panels.append(Panel(title, metrics, tuple(course for course in courses if course is not None)))
    return [panel for panel in panels if panel.curves]


def draw_schedules(folder: Path, columns: CurveColumns) -> Path | None:
    """Writes `schedules.png` to a run folder, its panels below each other; None where there is nothing to draw yet.

    Args:
        folder: of the run.
        columns: what those of its `progress.csv` are; there are schedules among them.

    Raises:
        UsageError: `progress.csv` is damaged.
        RunFault: the picture cannot be written.
    """
    progress = read_progress(folder)
    panels = panels_of(progress.rows, columns, folder.name) if progress is not None else []
    if not panels:
        return None
    curves = [curve for panel in panels for curve in panel.curves]
    horizontal = shared_by_all(curves)

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator, StrMethodFormatter

        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(grid, panels, strict=True):
            _draw_panel(axes, panel, horizontal)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=_TICKS))
        grid[-1].set_xlabel(horizontal.label)
        grid[-1].xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=_TICKS, min_n_ticks=1))
        grid[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if any(curve.widths is not None for curve in curves):
            grid[0].set_title("bands: 95% intervals over seeds", loc="right", fontsize=8, color="#555555")
        figure.align_ylabels()

    return save_figure(draw, (8, 0.9 + 2.1 * len(panels)), folder / PICTURE)


def draw_course(axes: Any, curve: Learning, horizontal: Horizontal, **style: Any) -> None:
    """Draws a curve with the band of its interval where it has one, and a curve of one point as a mark.

    Args:
        axes: of matplotlib.
        curve: what to draw.
        horizontal: what it is drawn over.
        style: of the curve, in matplotlib's words.
    """
    places, alone = horizontal.places(curve), len(curve.values) == 1
    (line,) = axes.plot(places, curve.values, marker="o" if alone else "", **style)
    if alone and curve.widths is not None:
        axes.errorbar(places, curve.values, curve.widths, fmt="none", capsize=3, ecolor=line.get_color())
    elif curve.widths is not None:
        low, high = curve.values - curve.widths, curve.values + curve.widths
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.18, linewidth=0)


def evenly_chosen(count: int, most: int) -> list[int]:
    """Numbers from 0 to count - 1, both ends among them, evenly spaced where there are more than `most`."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def shades(count: int) -> list[Any]:
    """Colours of so many curves, in matplotlib's words; of many they tell the order."""
    from matplotlib import colormaps

    if count > _UNORDERED:
        return list(colormaps["viridis"](np.linspace(0, 0.92, count)))
    return [f"C{index}" for index in range(count)]


def _draw_panel(axes: Any, panel: Panel, horizontal: Horizontal) -> None:
    """The panel's curves; many have colours in their order, and names evenly chosen among them."""
    count = len(panel.curves)
    named = evenly_chosen(count, _MOST_NAMES)
    for index, (curve, shade) in enumerate(zip(panel.curves, shades(count), strict=True)):
        draw_course(axes, curve, horizontal, color=shade, label=curve.label if index in named else None)
    axes.set_ylabel(fill(panel.title, 24))
    axes.grid(alpha=0.3)
    axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 5), useMathText=True)
    if count > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
