"""The picture of fitted curves: truth, examples, and what is predicted before and after adaptation."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curves", "curve_figure_size", "draw_curves"]

_STYLES = (("#7f7f7f", ":"), ("#ff7f0e", "--"), ("#2ca02c", "-"))


class Curves(NamedTuple):
    """Curves of N tasks over G places.

    Attributes:
        places: [G].
        truth: [N, G].
        support_inputs: where the examples lie, [N, E].
        support_targets: what they say, [N, E].
        fitted: gradient steps -> predictions [N, G], of three numbers of steps at most.
    """

    places: NDArray[Any]
    truth: NDArray[Any]
    support_inputs: NDArray[Any]
    support_targets: NDArray[Any]
    fitted: dict[int, NDArray[Any]]


def curve_figure_size(tasks: int) -> tuple[float, float]:
    """Width and height in inches of a figure with a panel for each task."""
    return 4.2 * tasks, 3.9


def draw_curves(curves: Curves, figure: Any) -> None:
    """Fills a matplotlib figure: a panel for each task, one legend for all."""
    panels = figure.subplots(1, len(curves.truth), squeeze=False)[0]
    for task, axes in enumerate(panels):
        _draw_task(curves, task, axes)
    columns = len(curves.fitted) + 2
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=9)


def _draw_task(curves: Curves, task: int, axes: Any) -> None:
    truth, inputs, targets = (part[task] for part in (curves.truth, curves.support_inputs, curves.support_targets))
    axes.plot(curves.places, truth, color="#d62728", linewidth=1.5, label="truth")
    steps = sorted(curves.fitted)
    for step, (color, style) in zip(steps, _STYLES[-len(steps) :], strict=True):
        label = "prediction" if len(steps) == 1 else _label(step)
        axes.plot(curves.places, curves.fitted[step][task], style, color=color, label=label)
    axes.plot(inputs, targets, "^", color="#9467bd", label=f"{len(inputs)} examples")
    axes.set_xlabel("x")
    axes.set_ylabel("y")
    axes.grid(alpha=0.3)
    sensible = np.concatenate([truth, targets, curves.fitted[steps[0]][task]])
    low, high = sensible.min(), sensible.max()
    axes.set_ylim(low - 0.3 * (high - low), high + 0.3 * (high - low))  # what diverged leaves the picture


def _label(step: int) -> str:
    return "before" if step == 0 else f"after {step} step{'s' if step > 1 else ''}"
