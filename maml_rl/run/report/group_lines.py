"""Groups of runs as lines of a chart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.report.charts import Line
from maml_rl.run.report.groups import Curve, Group
from maml_rl.run.report.tables import plural

__all__ = ["is_wide", "line_of"]

Array = NDArray[np.float64]


def line_of(index: int, group: Group, curve: Curve, single: Sequence[tuple[Array, Array]]) -> Line:
    """The line of the group of a number: its mean curve, with the single ones behind it, as many as its name says."""
    name = f"{group.name} ({plural(len(single), 'run')})" if len(single) > 1 else group.name
    return Line(index, name, curve.places, curve.means, curve.widths, tuple(single))


def is_wide(drawn: Sequence[Line], factor: float) -> bool:
    """Whether all numbers are positive and the largest is more than `factor` times the smallest."""
    values = np.concatenate([line.values for line in drawn] + [part[1] for line in drawn for part in line.single])
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(values.min() > 0) and bool(values.max() > factor * values.min())
