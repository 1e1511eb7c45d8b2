"""Learning curves and adaptation curves as pictures, for papers and slides."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.run.compare import Adaptation, Learning
from maml_rl.run.figure import save_figure
from maml_rl.run.horizontals import MINUTES, shared_by_all
from maml_rl.run.schedules import draw_course

__all__ = ["draw_adaptation", "draw_learning"]


def draw_learning(curves: Sequence[Learning], path: Path) -> Path:
    """Two panels: over a total that all runs count, or meta-iterations where there is none, and over minutes.

    Curves that have intervals have them as bands.

    Raises:
        RunFault: the file cannot be written.
    """

    def draw(figure: Any) -> None:
        panels = zip(figure.subplots(1, 2, sharey=True), (shared_by_all(curves), MINUTES), strict=True)
        for axes, horizontal in panels:
            for curve in curves:
                draw_course(axes, curve, horizontal, label=curve.name)
            axes.set_xlabel(horizontal.label)
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel(curves[0].label)
        figure.axes[1].legend(fontsize=8)

    return save_figure(draw, (11, 4), path)


def draw_adaptation(curves: Sequence[Adaptation], path: Path, log: bool = False) -> Path:
    """Means over held-out tasks with their 95% intervals, over steps of adaptation.

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
        axes.set_ylabel(curves[0].measure.title)
        axes.grid(alpha=0.3, which="both" if log else "major")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)

    return save_figure(draw, (8, 4.5), path)
