"""What curves over training are drawn over: totals such as environment steps, wall time, meta-iterations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.compare import Learning

__all__ = ["ITERATIONS", "MINUTES", "Horizontal", "horizontals_of", "shared_by_all", "total_label"]

_WORDS = {"env": "environment"}


class Horizontal(NamedTuple):
    """A horizontal axis.

    Attributes:
        label: of the axis, with its unit.
        column: the total's column of `progress.csv`; empty for wall time and iterations.
    """

    label: str
    column: str = ""

    def places(self, curve: Learning) -> NDArray[np.float64] | None:
        """Where a curve's points are, [P]; None where the run does not count this."""
        if self.column:
            return curve.totals.get(self.column)
        return curve.minutes if self == MINUTES else curve.iterations


MINUTES = Horizontal("wall time of training (minutes)")
ITERATIONS = Horizontal("meta-iterations")


def horizontals_of(curves: Sequence[Learning], of_all: bool = False) -> list[Horizontal]:
    """The totals that some curves have, or all of them; then wall time; iterations where a curve is over no total."""
    columns = dict.fromkeys(column for curve in curves for column in curve.totals)
    shared = [column for column in columns if not of_all or all(column in curve.totals for curve in curves)]
    totals = [Horizontal(total_label(column), column) for column in shared]
    complete = any(all(column in curve.totals for curve in curves) for column in shared)
    return [*totals, MINUTES, *([] if complete else [ITERATIONS])]


def shared_by_all(curves: Sequence[Learning]) -> Horizontal:
    """The first total that all curves have; meta-iterations where there is none."""
    return next(entry for entry in horizontals_of(curves, of_all=True) if entry != MINUTES)


def total_label(column: str) -> str:
    """A column in words: "environment steps" for ``env_steps``."""
    return " ".join(_WORDS.get(word, word) for word in column.split("_"))
