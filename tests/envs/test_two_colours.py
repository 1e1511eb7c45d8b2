"""Two colours: the array functions against a simulation in plain Python, laws of chance, swaps, lifetimes."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.random import SeedSequence
from scipy import stats

from envs.counter_based_random import uniform
from envs.task_distribution import FOREVER
from envs.two_colours import TwoColoursGrid
from envs.two_colours_returns import random_return
from maml_rl.rl.environments.checking import check_task_env
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import categorical_mlp
from maml_rl.rl.sampling.actors import memoryless
from maml_rl.rl.sampling.sampler import Sampler

_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def _chance(key: int, step: int, stream: int) -> float:
    """SplitMix64 in whole numbers of Python."""
    golden, bits = 0x9E3779B97F4A7C15, 2**64

    def mixed(word: int) -> int:
        word = (word + golden) % bits
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % bits
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % bits
        return word ^ (word >> 31)

    word = mixed(mixed(mixed(key) + step * golden) + stream * golden)
    return (word >> 11) * 2.0**-53


class _PlainGrid:
    """One lifetime with lists of free cells and a reward that is negated at each swap."""

    def __init__(self, key: int, size: int, blue_reward: float, swap_every: int, step_cost: float) -> None:
        self.key, self.size, self.swap_every, self.step_cost = key, size, swap_every, step_cost
        self.rewards = {"blue": blue_reward, "red": -blue_reward}
        self.time, self.cells = 0, {}
        for stream, name in enumerate(("agent", "blue", "red"), start=1):
            self.cells[name] = self._free_cell(stream)

    def _free_cell(self, stream: int) -> tuple[int, int]:
        grid = [(row, column) for row in range(self.size) for column in range(self.size)]
        free = [cell for cell in grid if cell not in self.cells.values()]
        return free[int(_chance(self.key, self.time, stream) * len(free))]

    def step(self, action: int) -> float:
        row, column = self.cells["agent"]
        moved = (row + _MOVES[action][0], column + _MOVES[action][1])
        if all(0 <= place < self.size for place in moved):
            self.cells["agent"] = moved
        reward = -self.step_cost
        for item in ("blue", "red"):
            if self.cells[item] == self.cells["agent"]:
                reward = self.rewards[item]
                del self.cells[item]
                self.cells[item] = self._free_cell(0)
        self.time += 1
        if self.time % self.swap_every == 0:
            self.rewards = {item: -worth for item, worth in self.rewards.items()}
        return reward

    def observation(self) -> list[float]:
        places = [place for name in ("agent", "blue", "red") for place in self.cells[name]]
        return [float(place == other) for place in places for other in range(self.size)]


@pytest.mark.parametrize(("size", "step_cost"), [(5, 0.04), (2, 0.5), (3, 0.0)])
def test_it_does_what_a_plain_simulation_does(size: int, step_cost: float) -> None:
    grid, count, rng = TwoColoursGrid(size, step_cost), 40, np.random.default_rng(size)
    keys = rng.integers(2**53, size=count)
    blue, periods = rng.choice([1.0, -1.0], count), rng.integers(1, 30, count)
    plain = [_PlainGrid(int(keys[i]), size, float(blue[i]), int(periods[i]), step_cost) for i in range(count)]
    states = grid.start(keys)
    for _ in range(200):
        np.testing.assert_array_equal(grid.observe(states), [each.observation() for each in plain])
        actions = rng.integers(4, size=count)
        after = grid.advance(states, actions)
        rewards = grid.reward(states, after, blue, periods)
        assert rewards.tolist() == [each.step(int(action)) for each, action in zip(plain, actions, strict=True)]
        states = after


def test_first_cells_and_free_cells_are_uniform() -> None:
    grid, count = TwoColoursGrid(3), 40_000
    keys = np.random.default_rng(0).integers(2**53, size=count)
    first = grid.start(keys)[:, 2:].astype(int)
    triples = first @ [81, 9, 1]
    expected = sorted(a * 81 + b * 9 + c for a, b, c in permutations(range(9), 3))
    seen, counts = np.unique(triples, return_counts=True)
    assert seen.tolist() == expected
    assert stats.chisquare(counts).pvalue > 0.01
    # The agent at 4 enters the cell above it, at 1.
    for item, taken in ((3, [1, 7]), (4, [1, 6])):
        states = np.tile([0.0, 11.0, 4.0, 6.0, 7.0], (count, 1))
        states[:, 0], states[:, item] = keys, 1.0
        after = grid.advance(states, np.zeros(count))
        assert (after[:, 2] == 1).all()
        assert (after[:, 7 - item] == states[:, 7 - item]).all()
        cells, counts = np.unique(after[:, item], return_counts=True)
        assert cells.tolist() == [cell for cell in range(9) if cell not in taken]
        assert stats.chisquare(counts).pvalue > 0.01


def test_new_places_do_not_depend_on_one_another() -> None:
    grid, keys = TwoColoursGrid(5), np.random.default_rng(0).integers(2**53, size=100_000)
    cells = []
    for time in (0.0, 1.0):
        states = np.tile([0.0, time, 12.0, 7.0, 0.0], (len(keys), 1))
        states[:, 0] = keys
        cells.append(grid.advance(states, np.zeros(len(keys)))[:, 3])
    assert stats.chi2_contingency(stats.contingency.crosstab(*cells).count).pvalue > 0.01


def test_walls_hold() -> None:
    grid = TwoColoursGrid(5)
    for action, edge in enumerate((range(5), range(20, 25), range(0, 25, 5), range(4, 25, 5))):
        cells = np.arange(25.0)
        states = np.stack([cells, cells, cells, (cells + 11) % 25, (cells + 13) % 25], 1)
        moved = grid.advance(states, np.full(25, action))[:, 2]
        assert np.flatnonzero(moved == cells).tolist() == list(edge)
        assert set(moved - cells) == {0.0, (-5.0, 5.0, -1.0, 1.0)[action]}


@pytest.mark.parametrize("blue", [1.0, -1.0])
def test_rewards_swap_exactly_at_the_step(blue: float) -> None:
    grid, period = TwoColoursGrid(5), 100_000
    times = np.array([0, 1, period - 1, period, period + 1, 2 * period - 1, 2 * period, 64 * period - 1, 64 * period])
    worth = blue * np.array([1, 1, 1, -1, -1, -1, 1, -1, 1])
    still = np.full(len(times), 24.0)
    for item, rewards in ((3, worth), (4, -worth), (None, np.full(len(times), -0.04))):
        before = np.stack([times, times, still - 12, still, still - 1], 1)
        if item is not None:
            before[:, item] = 7.0
        after = grid.advance(before, np.zeros(len(times)))
        assert grid.reward(before, after, blue, period).tolist() == rewards.tolist()


def _play(step: Callable[..., Any], start: Any, actions: Any) -> list[Any]:
    states, outcomes = start, []
    for action in actions:
        states, rewards, observations = step(states, action)
        outcomes.append((states, rewards, observations))
    return outcomes


def test_torch_under_vmap_agrees_with_numpy_bit_by_bit() -> None:
    grid, count, rng = TwoColoursGrid(5), 3000, np.random.default_rng(2)
    keys, blue = rng.integers(2**53, size=count), rng.choice([1.0, -1.0], count)
    actions = rng.integers(4, size=(60, count))

    def step(states: Any, action: Any, blue: Any) -> tuple[Any, Any, Any]:
        after = grid.advance(states, action)
        return after, grid.reward(states, after, blue, 7), grid.observe(after)

    mapped = torch.func.vmap(step)
    tensors = _play(
        lambda states, action: mapped(states, action, torch.from_numpy(blue)),
        torch.func.vmap(grid.start)(torch.from_numpy(keys)),
        torch.from_numpy(actions),
    )
    arrays = _play(lambda states, action: step(states, action, blue), grid.start(keys), actions)
    for tensor, array in zip(tensors, arrays, strict=True):
        for one, other in zip(tensor, array, strict=True):
            assert one.dtype == torch.float64
            assert np.array_equal(one.numpy(), other)


def test_chance_of_tensors_is_that_of_arrays() -> None:
    rng = np.random.default_rng(3)
    keys, steps = rng.integers(2**53, size=500).astype(float), rng.integers(10**12, size=500).astype(float)
    for stream in (0, 1, 9):
        drawn = uniform(keys, steps, stream)
        assert np.array_equal(uniform(torch.from_numpy(keys), torch.from_numpy(steps), stream).numpy(), drawn)
        assert drawn.tolist() == [_chance(int(key), int(at), stream) for key, at in zip(keys, steps, strict=True)]


def test_a_lifetime_goes_on_over_rollouts_and_whole_episodes_need_a_horizon() -> None:
    policy, cpu = categorical_mlp(30, 4, (4,)), torch.device("cpu")
    params = policy.initial(torch.Generator().manual_seed(0), torch.float32)
    seeds = [SeedSequence([0, task]) for task in range(2)]
    tasks = [{"blue_reward": 1.0}, {"blue_reward": -1.0}]
    config = EnvironmentConfig("envs:TwoColours-v0", {"swap_every": 8})
    endless = Sampler(config, 2, 3, cpu, torch.float32)
    assert endless.stepper.horizon == FOREVER
    carry = endless.start(memoryless(policy), tasks, seeds)
    for start in (0, 16, 32):
        assert (carry.elapsed == start).all()
        rollout, carry = endless.rollout(memoryless(policy), params, carry, seeds, 16)
        assert not (rollout.terminated | rollout.truncated).any()
    with pytest.raises(ValueError, match="max_episode_steps"):
        endless.sample(memoryless(policy), params, tasks, seeds)
    episodes, _ = Sampler(replace(config, max_episode_steps=20), 2, 3, cpu, torch.float32).sample(
        memoryless(policy), params, tasks, seeds
    )
    assert episodes.rewards.shape == (2, 3, 20)
    assert (episodes.mask == 1).all()


def test_a_lifetime_does_not_fill_the_memory() -> None:
    env = gym.make("envs:TwoColours-v0", render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    for _ in range(300):
        assert env.step(0)[2:4] == (False, False)
    assert len(env._states) < 20
    assert env._states[-1][1] == 300
    assert env.render().shape == (480, 480, 3)


def test_the_check_of_environments_says_nothing() -> None:
    """On a small grid: the check's few steps have to reach an item."""
    assert check_task_env("envs:TwoColours-v0", size=3) == []


def test_tasks_may_have_periods_of_their_own() -> None:
    envs = gym.make_vec("envs:TwoColours-v0", num_envs=2, swap_every=[3, 6])
    tasks = envs.sample_tasks(200, np.random.default_rng(0))
    assert {task["swap_every"] for task in tasks} == {3.0, 4.0, 5.0, 6.0}
    assert {task["blue_reward"] for task in tasks} == {1.0, -1.0}
    for wrong in (2, 7, 3.5):
        with pytest.raises(ValueError, match="swap_every of TwoColours must be a whole number from 3 to 6"):
            envs.set_tasks([{"blue_reward": 1, "swap_every": wrong}] * 2)
    one = {"blue_reward": 1.0, "swap_every": 3.0}
    envs.reset(seed=0, options={"tasks": [one, {**one, "swap_every": 6.0}]})
    envs._states[:, 2:] = [12.0, 24.0, 2.0]  # the red item lies two steps above the agent
    envs._states[:, 1] = 2.0
    envs.step(np.zeros(2, int))
    assert envs.step(np.zeros(2, int))[1].tolist() == [1.0, -1.0]
    assert envs.reference_returns(one, 5)["random"] == random_return(5, 3)


def test_pictures_show_the_worth_of_the_items_at_the_time() -> None:
    env = gym.make("envs:TwoColours-v0", render_mode="rgb_array", swap_every=5).unwrapped
    pictures = []
    for first, time in ((1.0, 4.0), (1.0, 5.0), (-1.0, 5.0)):
        env.reset(seed=0, options={"task": {"blue_reward": first}})
        env._states[-1][1:] = [time, 12.0, 0.0, 24.0]
        pictures.append(env.render()[60:120, 35:120])  # the blue item in the upper left corner
    assert not np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], pictures[2])
