"""Exact returns of two colours: against enumeration, against the induction without a short cut, against episodes."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs.two_colours_returns import optimal_return, random_return

_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def _best(cells: tuple[int, ...], left: int, choose: Callable[..., Any], time: int, period: int, size: int) -> float:
    """The value of a place by recursion over everything that can happen; the first item is good at first."""
    if not left:
        return 0.0
    agent, *items = cells
    values = []
    for y, x in _MOVES:
        row, column = agent // size + y, agent % size + x
        to = row * size + column if 0 <= row < size and 0 <= column < size else agent
        if to not in items:
            values.append(-0.04 + _best((to, *items), left - 1, choose, time + 1, period, size))
            continue
        entered = items.index(to)
        reward = (1, -1)[(entered + time // period) % 2]
        nexts = []
        for free in set(range(size**2)) - {to, items[1 - entered]}:
            moved = list(items)
            moved[entered] = free
            nexts.append(_best((to, *moved), left - 1, choose, time + 1, period, size))
        values.append(reward + np.mean(nexts))
    return float(choose(values))


@pytest.mark.parametrize(("exact", "choose"), [(optimal_return, np.max), (random_return, np.mean)])
def test_returns_are_those_of_all_that_can_happen(exact: Any, choose: Callable[..., Any]) -> None:
    for size, steps, period in ((2, 4, 10), (2, 4, 1), (2, 4, 3), (3, 2, 1)):
        firsts = list(permutations(range(size**2), 3))
        expected = np.mean([_best(first, steps, choose, 0, period, size) for first in firsts])
        assert exact(steps, period, size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("exact", [optimal_return, random_return])
def test_returns_of_long_phases_are_extrapolated_without_loss(exact: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = ((6_001, 10**6), (12_345, 1_001), (8_000, 2))
    short = [exact(steps, period, 3) for steps, period in lengths]
    monkeypatch.setattr("envs.two_colours_returns._STEP_TOLERANCE", -1.0)
    monkeypatch.setattr("envs.two_colours_returns._PHASE_TOLERANCE", -1.0)
    full = [exact.__wrapped__(steps, period, 3) for steps, period in lengths]
    assert short == pytest.approx(full, rel=1e-9)


def test_returns_of_random_actions_have_the_reference_for_their_mean() -> None:
    count, steps = 4000, 40
    envs = gym.make_vec("envs:TwoColours-v0", num_envs=count, horizon=steps, swap_every=15)
    task = {"blue_reward": -1.0}
    envs.reset(seed=0, options={"tasks": [task] * count})
    rng, returns = np.random.default_rng(0), np.zeros(count)
    for _ in range(steps):
        _, rewards, terminated, truncated, _ = envs.step(rng.integers(4, size=count))
        returns += rewards
        assert not terminated.any()
    assert truncated.all()
    expected = envs.reference_returns(task, steps)
    assert expected["random"] == random_return(steps, 15)
    assert returns.mean() == pytest.approx(expected["random"], abs=4 * returns.std() / np.sqrt(count))
    assert expected["optimal"] > 8.0
    assert gym.make("envs:TwoColours-v0", size=9).unwrapped.reference_returns(task, 3) == {}
