"""The oracle's view: observations with the numbers of the task appended, for one environment and for a vector."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorObservationWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from maml_rl.rl.environments.task_env import (
    HasStateValues,
    HasTasks,
    Task,
    TaskEnv,
    VectorTaskEnv,
    plain_task,
    task_env_of,
)

__all__ = ["TaskAwareObservation", "VectorTaskAwareObservation", "task_numbers"]


def task_numbers(task: Task) -> NDArray[np.float64]:
    """The task's numbers in one row, [D], in the order of their names.

    Raises:
        ValueError: it holds something else.
    """
    parts = []
    for name in sorted(task):
        try:
            parts.append(np.asarray(task[name], float).ravel())
        except (TypeError, ValueError):
            raise ValueError(
                f"`environment.show_task` shows numbers, but the task's {name!r} is {task[name]!r}."
            ) from None
    return np.concatenate(parts)


class TaskAwareObservation(gym.ObservationWrapper[NDArray[Any], Any, NDArray[Any]]):
    """A task environment whose observations, [O], are followed by the task's numbers: [O + D].

    Raises:
        ValueError: tasks that are not made of numbers, or observations that are not vectors.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        inner = task_env_of(env)
        self._numbers = _first_numbers(inner)
        self.observation_space = _extended(env.observation_space, self._numbers)
        set_task = inner.set_task

        def set_and_note(task: Task) -> None:
            set_task(task)
            self._numbers = _rows([task], self._numbers.size)[0]

        inner.set_task = set_and_note  # type: ignore[method-assign]  # tasks are set on the innermost environment

    def observation(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The observation with the task's numbers behind it, [O + D]."""
        return _appended(np.asarray(observation), self._numbers)

    def state_values(self, task: Task) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Observations of all states [S, O + D] and the value of each, [S]; None if unknown."""
        return _values_with_numbers(self.unwrapped, task)


class VectorTaskAwareObservation(VectorObservationWrapper):  # type: ignore[type-arg]  # not generic in old versions
    """A native `VectorTaskEnv` whose observations, [n, O], are followed by the numbers of each one's task: [n, O + D].

    Raises:
        ValueError: tasks that are not made of numbers, or observations that are not vectors.
    """

    env: Any  # a VectorEnv and a VectorTaskEnv

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        assert isinstance(env, VectorTaskEnv)
        first = _first_numbers(env)
        self._numbers = np.tile(first, (env.num_envs, 1))
        self.single_observation_space = _extended(env.single_observation_space, first)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    @property
    def horizon(self) -> int | None:
        """Steps after which episodes end."""
        return self.env.horizon

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks."""
        return self.env.sample_tasks(count, rng)

    def state_values(self, task: Task) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Observations of all states [S, O + D] and the value of each, [S]; None if unknown."""
        return _values_with_numbers(self.env, task)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives each sub-environment its task."""
        self.env.set_tasks(tasks)
        self._numbers = _rows(tasks, self._numbers.shape[1])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Where the sub-environments stand (see `HasSnapshots`)."""
        return self.env.snapshot()  # type: ignore[no-any-return]

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from a snapshot."""
        self.env.restore(snapshot)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        """Starts episodes; some vectors draw tasks here, or take them from the options."""
        observations, info = self.env.reset(seed=seed, options=options)
        if isinstance(self.env, HasTasks):
            self._numbers = _rows([task for task in self.env.tasks if task is not None], self._numbers.shape[1])
        return self.observations(observations), info

    def observations(self, observations: NDArray[Any]) -> NDArray[Any]:
        """The observations with the numbers of the tasks behind them, [n, O + D]."""
        return _appended(np.asarray(observations), self._numbers)


def _first_numbers(tasks: TaskEnv | VectorTaskEnv) -> NDArray[np.float64]:
    (task,) = tasks.sample_tasks(1, np.random.default_rng(0))
    return task_numbers(plain_task(task))


def _values_with_numbers(env: Any, task: Task) -> tuple[NDArray[Any], NDArray[Any]] | None:
    known = env.state_values(task) if isinstance(env, HasStateValues) else None
    if known is None:
        return None
    observations, values = known
    return _appended(observations, np.tile(task_numbers(task), (len(observations), 1))), values


def _rows(tasks: Sequence[Task], size: int) -> NDArray[np.float64]:
    """The numbers of each task, [n, D]. Episodes share their task's dictionary, so each is read once."""
    numbers = {key: task_numbers(task) for key, task in {id(task): task for task in tasks}.items()}
    for row in numbers.values():
        if len(row) != size:
            raise ValueError(f"`environment.show_task` needs as many numbers in each task, got {len(row)} and {size}.")
    return np.stack([numbers[id(task)] for task in tasks])


def _extended(space: gym.Space[Any], numbers: NDArray[np.float64]) -> gym.spaces.Box:
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"`environment.show_task` needs one-dimensional observations, got {space}.")
    dtype = space.dtype.type if space.dtype is not None else np.float64
    bound = np.full(numbers.size, np.inf)
    low, high = np.concatenate([space.low, -bound]), np.concatenate([space.high, bound])
    return gym.spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)


def _appended(observations: NDArray[Any], numbers: NDArray[np.float64]) -> NDArray[Any]:
    return np.concatenate([observations, numbers.astype(observations.dtype)], axis=-1)
