"""The picture of fitted curves: truth, examples, and what is predicted before and after adaptation."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curves", "draw_curves", "figure_size"]


class Curves(NamedTuple):
    """Curves of N tasks over G places.

    Attributes:
        places: [G].
        truth: [N, G].
        support_inputs: where the examples lie, [N, E].
        support_targets: what they say, [N, E].
        fitted: gradient steps -> predictions [N, G].
    """

    places: NDArray[Any]
    truth: NDArray[Any]
    support_inputs: NDArray[Any]
    support_targets: NDArray[Any]
    fitted: dict[int, NDArray[Any]]


def figure_size(curves: Curves) -> tuple[float, float]:
    """Width and height, in inches, of a figure with room for a panel a task."""
    return 4.2 * len(curves.truth), 3.9


def draw_curves(curves: Curves, figure: Any) -> None:
    """Fills a matplotlib figure of `figure_size` with one panel a task."""
    styles = [("#7f7f7f", ":"), ("#ff7f0e", "--"), ("#2ca02c", "-")]
    steps = sorted(curves.fitted)
    for task, axes in enumerate(figure.subplots(1, len(curves.truth), squeeze=False)[0]):
        inputs, targets = curves.support_inputs[task], curves.support_targets[task]
        axes.plot(curves.places, curves.truth[task], color="#d62728", linewidth=1.5, label="truth")
        for step, (color, style) in zip(steps, styles[-len(steps) :], strict=True):
            label = _label(step, only=len(steps) == 1)
            axes.plot(curves.places, curves.fitted[step][task], style, color=color, label=label)
        axes.plot(inputs, targets, "^", color="#9467bd", label=f"{len(inputs)} examples")
        axes.set_xlabel("x")
        axes.set_ylabel("y")
        axes.grid(alpha=0.3)
        sensible = np.concatenate([curves.truth[task], targets, curves.fitted[steps[0]][task]])
        low, high = sensible.min(), sensible.max()
        axes.set_ylim(low - 0.3 * (high - low), high + 0.3 * (high - low))  # what diverged leaves the picture
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(steps) + 2, fontsize=9)


def _label(step: int, only: bool) -> str:
    if only:
        return "prediction"
    return "before" if step == 0 else f"after {step} step{'s' if step > 1 else ''}"
