"""The oracle's view: observations with the task's numbers behind them, for one environment and for a vector."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from maml_rl.rl.environments.task_env import Task, TaskEnv, VectorTaskEnv, plain_task

__all__ = ["TaskShown", "TasksShown", "numbers_of"]


def numbers_of(task: Task) -> NDArray[np.float64]:
    """The task's numbers in one row, in the order of their names.

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


class TaskShown(gym.Wrapper[NDArray[Any], Any, NDArray[Any], Any]):
    """A task environment whose observations, [O], are followed by the task's numbers.

    Raises:
        ValueError: tasks that are not made of numbers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        inner = env.unwrapped
        assert isinstance(inner, TaskEnv)
        (task,) = inner.sample_tasks(1, np.random.default_rng(0))
        self._shown = _Shown(plain_task(task), env.observation_space)
        self.observation_space = self._shown.space
        set_task = inner.set_task

        def noted(task: Task) -> None:
            set_task(task)
            self._shown.note([task])

        inner.set_task = noted  # type: ignore[method-assign]  # tasks are set on the innermost environment

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._shown.append(np.asarray(observation)[None])[0], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step."""
        observation, *rest = self.env.step(action)
        return (self._shown.append(np.asarray(observation)[None])[0], *rest)  # type: ignore[return-value]


class TasksShown:
    """A `VectorTaskEnv` whose observations, [n, O], are followed by the numbers of each sub-environment's task.

    Raises:
        ValueError: tasks that are not made of numbers.
    """

    def __init__(self, envs: VectorTaskEnv) -> None:
        self._envs = envs
        (task,) = envs.sample_tasks(1, np.random.default_rng(0))
        self._shown = _Shown(plain_task(task), envs.single_observation_space)
        self.num_envs = envs.num_envs
        self.single_observation_space, self.single_action_space = self._shown.space, envs.single_action_space

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._envs, name)

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws tasks."""
        return self._envs.sample_tasks(count, rng)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives each sub-environment its task."""
        self._envs.set_tasks(tasks)
        self._shown.note(tasks)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts episodes."""
        observations, info = self._envs.reset(seed=seed, options=options)
        tasks = getattr(self._envs, "tasks", None)  # of vectors that also draw tasks or take them in a reset
        if tasks is not None:
            self._shown.note(tasks)
        return self._shown.append(observations), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of all."""
        observations, *rest = self._envs.step(actions)
        return (self._shown.append(observations), *rest)  # type: ignore[return-value]

    def close(self, **kwargs: Any) -> None:
        """Closes the environments."""
        self._envs.close(**kwargs)


class _Shown:
    """The tasks' numbers, and the space of observations that they follow."""

    def __init__(self, task: Task, space: gym.Space[Any]) -> None:
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"`environment.show_task` needs one-dimensional observations, got {space}.")
        self._size = len(numbers_of(task))
        bound = np.full(self._size, np.inf)
        kind = space.dtype.type if space.dtype is not None else np.float64
        low, high = np.concatenate([space.low, -bound]), np.concatenate([space.high, bound])
        self.space = gym.spaces.Box(low.astype(kind), high.astype(kind), dtype=kind)
        self._rows = numbers_of(task)[None]

    def note(self, tasks: Sequence[Task]) -> None:
        known: dict[int, NDArray[np.float64]] = {}
        for task in tasks:
            row = known.setdefault(id(task), numbers_of(task))
            if len(row) != self._size:
                raise ValueError(
                    f"`environment.show_task` needs as many numbers in each task, got {len(row)} and {self._size}."
                )
        self._rows = np.stack([known[id(task)] for task in tasks])

    def append(self, observations: Any) -> NDArray[Any]:
        found = np.asarray(observations)
        return np.concatenate([found, self._rows.astype(found.dtype)], axis=-1)
