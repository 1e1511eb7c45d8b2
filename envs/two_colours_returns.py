"""Exact expected returns in the grid of two colours, by backward induction over all its places (Bellman, 1957)."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from envs.task_distribution import Array

__all__ = ["optimal_return", "random_return"]

_Backup: TypeAlias = Callable[[Array], tuple[Array, float]]
"""Values at a time -> values at an earlier time, less that of the reference place, and what was subtracted."""

_REFERENCE = (0, 1, 2)  # the place whose value is kept at 0, so that values stay small however many steps there are
_STEP_TOLERANCE, _PHASE_TOLERANCE = 1e-13, 1e-10  # of differences between values, which are below 10


@lru_cache(maxsize=64)
def optimal_return(steps: int, swap_every: int = 100_000, size: int = 5, step_cost: float = 0.04) -> float:
    """The best expected sum of rewards over `steps` steps of an agent that knows the good item and the time of swaps.

    Which item is good at first makes no difference, because all first states are equally likely.
    """
    return _induced(steps, swap_every, size, step_cost, np.max)


@lru_cache(maxsize=64)
def random_return(steps: int, swap_every: int = 100_000, size: int = 5, step_cost: float = 0.04) -> float:
    """The expected sum of rewards over `steps` steps of uniformly random actions."""
    return _induced(steps, swap_every, size, step_cost, np.mean)


def _induced(steps: int, swap_every: int, size: int, step_cost: float, choose: Callable[..., Array]) -> float:
    """V_t(s) = choose_a E[r + V_{t+1}(s')], from the last phase to the first, averaged over the first states.

    Values [cells, cells, cells] belong to the cells of the agent, of the good and of the bad item. A swap exchanges the
    last two axes. Values are 0 where two of the three share a cell.
    """
    step = _step(size, step_cost, choose)
    number = size**2 * (size**2 - 1) * (size**2 - 2)

    def phase(values: Array) -> tuple[Array, float]:
        return _repeated(step, values.swapaxes(1, 2), swap_every, _STEP_TOLERANCE)

    values, last = _repeated(step, np.zeros((size**2,) * 3), steps % swap_every, _STEP_TOLERANCE)
    values, others = _repeated(phase, values, steps // swap_every, _PHASE_TOLERANCE)
    return last + others + float(values.sum()) / number


def _repeated(backup: _Backup, values: Array, times: int, tolerance: float) -> tuple[Array, float]:
    """The same backup many times: the values, and the sum of what was subtracted.

    Backups are taken in pairs, because an agent that moves alternates between the two colours of a chess board. Once a
    pair leaves all values as they were, the pairs before it subtract the same.
    """
    total = 0.0
    if times % 2:
        values, total = backup(values)
    for done in range(times // 2):
        later = values
        values, second = backup(later)
        values, first = backup(values)
        total += first + second
        if np.abs(values - later).max() < tolerance:
            total += (times // 2 - done - 1) * (first + second)
            break
    return values, total


def _step(size: int, step_cost: float, choose: Callable[..., Array]) -> _Backup:
    """The backup of one step."""
    cells = np.arange(size**2)
    rows, columns = cells // size, cells % size
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    reached = [np.clip(rows + y, 0, size - 1) * size + np.clip(columns + x, 0, size - 1) for y, x in moves]
    agent, good, bad = np.ogrid[: size**2, : size**2, : size**2]
    apart = (agent != good) & (good != bad) & (agent != bad)

    def backup(values: Array) -> tuple[Array, float]:
        entered = values - step_cost  # by the cell that the agent enters
        entered[cells, cells, :] = 1.0 + values.sum(1) / (size**2 - 2)
        entered[cells, :, cells] = -1.0 + values.sum(2) / (size**2 - 2)
        earlier = choose(np.stack([entered[cell] for cell in reached]), axis=0)
        gain = float(earlier[_REFERENCE])
        return np.where(apart, earlier - gain, 0.0), gain

    return backup
