"""Two colours: a grid with a good and a bad item whose rewards swap, and no episodes (Flennerhag et al., 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.argument_checks import not_negative, two_numbers, whole
from envs.array_namespace import ArrayT, cast, looked_up, namespace_of
from envs.array_tasks import ArrayTask
from envs.counter_based_random import draw_key, uniform
from envs.parameter_ranges import Choice, Range, WholeNumbers
from envs.task_distribution import FOREVER, Array, TaskArrays, TaskDistribution
from envs.two_colours_picture import picture
from envs.two_colours_returns import optimal_return, random_return
from maml_rl.rl.environments.task_env import Task

__all__ = ["TwoColoursGrid", "two_colours"]

_KEY, _TIME, _AGENT, _BLUE, _RED = range(5)
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # rows down and columns to the right of each action
_FREE_CELL, _FIRST_AGENT, _FIRST_BLUE, _FIRST_RED = range(4)  # streams of chance
_TRAIL = 12
_SOLVABLE = 8  # rows of a grid whose places fit into a table of values


@dataclass(frozen=True)
class TwoColoursGrid:
    """The dynamics as pure functions of numpy's arrays or torch's tensors, also under `torch.func.vmap`.

    A state [..., 5] is the lifetime's key, the time step, and the cells of the agent, the blue and the red item. Cells
    are numbered row by row from 0. States are float64, whose whole numbers hold a key. Arrays of numpy have at least
    one leading dimension.

    Attributes:
        size: rows and columns of the grid, at least 2.
        step_cost: what a step costs that collects nothing.
    """

    size: int = 5
    step_cost: float = 0.04

    def initial(self, rng: np.random.Generator) -> Array:
        """The first state of a lifetime whose key `rng` draws, [5]."""
        return self.start(np.array([draw_key(rng)]))[0]

    def start(self, keys: ArrayT) -> ArrayT:
        """First states [..., 5] from keys [...], whole numbers from 0 to 2^53: three different cells, all alike."""
        xp = namespace_of(keys)
        keys = cast(keys, xp.float64)
        time, cells = xp.zeros_like(keys), self.size**2
        agent = xp.floor(uniform(keys, time, _FIRST_AGENT) * cells)
        blue = xp.floor(uniform(keys, time, _FIRST_BLUE) * (cells - 1))
        blue = blue + (blue >= agent)
        red = self._free_cell(uniform(keys, time, _FIRST_RED), agent, blue)
        return xp.stack([keys, time, agent, blue, red], -1)

    def advance(self, states: ArrayT, actions: ArrayT) -> ArrayT:
        """The next states [..., 5] after actions [...]: 0 up, 1 down, 2 left, 3 right.

        A wall holds the agent where it is. An item that the agent enters moves to a cell where nothing is, each of
        them as likely as the others.
        """
        xp = namespace_of(states)
        key, time, items = states[..., :_TIME], states[..., _TIME:_AGENT], states[..., _BLUE:]
        agent = looked_up(self._reached, 4 * states[..., _AGENT] + actions)[..., None]
        entered = items == agent
        if xp is not np or entered.any():  # a mapped tensor has no truth value
            free = self._free_cell(uniform(key, time, _FREE_CELL), agent, items[..., [1, 0]])
            items = xp.where(entered, free, items)
        return xp.concatenate([key, time + 1, agent, items], -1)

    def reward(self, before: ArrayT, after: ArrayT, blue_reward: Any, swap_every: Any) -> ArrayT:
        """Rewards [...] of steps between states [..., 5].

        Args:
            before: the states that the steps left.
            after: the states that they led to.
            blue_reward: of the blue item at first, 1 or -1: a number or [...]. The red item's is the opposite.
            swap_every: steps after which the two swap: a number or [...].
        """
        xp = namespace_of(before)
        blue = blue_reward_at(before[..., _TIME], blue_reward, swap_every)
        is_red = after[..., _AGENT] == before[..., _RED]
        return xp.where(after[..., _AGENT] == before[..., _BLUE], blue, xp.where(is_red, -blue, -self.step_cost))

    def observe(self, states: ArrayT) -> ArrayT:
        """Six one-hot vectors, [..., 6 size]: row and column of the agent, of the blue and of the red item."""
        return looked_up(self._one_hot, states[..., _AGENT:]).reshape(*states.shape[:-1], 6 * self.size)

    @cached_property
    def _reached(self) -> Array:
        """Where each action leads from each cell, [4 cells], cell by cell."""
        rows, columns = np.divmod(np.arange(self.size**2), self.size)
        moved = [np.clip((rows + down, columns + right), 0, self.size - 1) for down, right in _MOVES]
        return np.stack([row * self.size + column for row, column in moved], -1).astype(np.float64).reshape(-1)

    @cached_property
    def _one_hot(self) -> Array:
        """Row and column of each cell as one-hot vectors, [cells, 2 size]."""
        rows, columns = np.divmod(np.arange(self.size**2), self.size)
        return np.concatenate([np.eye(self.size)[rows], np.eye(self.size)[columns]], -1)

    def _free_cell(self, chance: ArrayT, first: ArrayT, second: ArrayT) -> ArrayT:
        """One of the cells but two: the number among those left, moved on behind each of the two."""
        xp = namespace_of(chance)
        cell = xp.floor(chance * (self.size**2 - 2))
        cell = cell + (cell >= xp.minimum(first, second))
        return cell + (cell >= xp.maximum(first, second))


def blue_reward_at(time: ArrayT, blue_reward: Any, swap_every: Any) -> ArrayT:
    """What the blue item is worth in the step that begins at `time`; steps are counted from 0."""
    return (1.0 - 2.0 * (time // swap_every % 2)) * blue_reward


def two_colours(
    size: int = 5,
    swap_every: int | Sequence[int] = 100_000,
    step_cost: float = 0.04,
    horizon: int = FOREVER,
) -> ArrayTask:
    """An agent on a grid with a blue and a red item, one of them worth 1 and the other -1; nobody tells which.

    A step that collects nothing costs `step_cost`. A collected item moves to a free cell, and life goes on. Every
    `swap_every` steps the items swap their rewards. Observation: six one-hot vectors, [6 size]. Actions: 0 up, 1 down,
    2 left, 3 right. Task: ``{"blue_reward": 1}`` or ``{"blue_reward": -1}``, what the blue item is worth at first.

    Args:
        size: rows and columns of the grid.
        swap_every: steps between swaps, or two bounds [shortest, longest]: each task then has a period of its own,
            ``{"blue_reward": 1, "swap_every": 5000}``, uniform among the whole numbers within the bounds.
        step_cost: of a step that collects nothing.
        horizon: steps after which an episode is truncated. By default none ever is, and steps are taken by
            `Sampler.rollout`, which goes on where it ended. `Sampler.sample` plays whole episodes and needs a horizon.

    Raises:
        ValueError: a number that is not whole and positive, a negative cost, bounds in the wrong order, a grid of one
            cell.
    """
    whole(size=size, horizon=horizon)
    if size < 2:
        raise ValueError(f"`size` must be at least 2, for three things need three cells, got {size}.")
    not_negative(step_cost=step_cost)
    period = _checked_period(swap_every)
    grid = TwoColoursGrid(int(size), float(step_cost))
    parameters: dict[str, Range] = {"blue_reward": Choice((1.0, -1.0))}
    if isinstance(period, WholeNumbers):
        parameters["swap_every"] = period

    def reward(before: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        return grid.reward(before, after, tasks["blue_reward"], tasks.get("swap_every", period))

    def render(states: Array, task: Task) -> Any:
        every, time = task.get("swap_every", period), states[-1, _TIME]
        blue = float(blue_reward_at(time, task["blue_reward"], every))
        return picture(states[:, [_AGENT, _BLUE, _RED]].astype(int), int(time), blue, int(every - time % every), size)

    def references(task: Task, steps: int) -> dict[str, float]:
        if grid.size > _SOLVABLE:
            return {}
        every = int(task.get("swap_every", period))
        return {
            "optimal": optimal_return(steps, every, grid.size, grid.step_cost),
            "random": random_return(steps, every, grid.size, grid.step_cost),
        }

    distribution = TaskDistribution(
        name="TwoColours",
        parameters=parameters,
        observation_space=spaces.Box(0.0, 1.0, (6 * grid.size,), np.float64),
        action_space=spaces.Discrete(4),
        horizon=horizon,
        observe=grid.observe,
        control=lambda actions: cast(actions, namespace_of(actions).float64),
        reward=reward,
        terminated=lambda after, tasks: np.zeros(len(after), bool),
        render=render,
        references=references,
        rendered_states=_TRAIL,
        tensors=True,
    )
    return ArrayTask(distribution, grid)


def _checked_period(swap_every: int | Sequence[int]) -> int | WholeNumbers:
    if not isinstance(swap_every, Sequence):
        whole(swap_every=swap_every)
        return int(swap_every)
    low, high = two_numbers(swap_every=swap_every)
    if not (low.is_integer() and high.is_integer() and 1 <= low <= high):
        raise ValueError(f"`swap_every` must be whole numbers, at least 1 and low <= high, got {swap_every!r}.")
    return WholeNumbers(int(low), int(high))
