"""Checks of tasks: drawn from the given generator alone, storable, and accepted by the environment that drew them."""

import inspect
import json
from collections.abc import Iterator

import gymnasium as gym
import numpy as np

from maml_rl.rl.environments.checking.finding import SEED, CannotGoOn, Finding, one_line
from maml_rl.rl.environments.task_env import Task, TaskError, plain_task, task_env_of
from maml_rl.rl.environments.vector import EnvironmentConfig

__all__ = ["check_tasks", "sampled_tasks"]

_TASKS = 4


def check_tasks(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """Tasks repeat with the generator, differ without, and are accepted; unknown names are refused."""
    inner = task_env_of(env)
    first, again, other = (sampled_tasks(env, seed) for seed in (SEED, SEED, SEED + 1))
    if first != again:
        yield Finding(
            True, "sample_tasks(count, rng) draws other tasks from the same rng: take all randomness from `rng`."
        )
    if first == other and len({json.dumps(task) for task in first}) == 1:
        yield Finding(False, "sample_tasks draws one task only: there is nothing to adapt to.")
    for task in first:
        try:
            inner.set_task(task)
        except Exception as error:
            raise CannotGoOn(f"set_task refuses the task {task} that sample_tasks drew: {one_line(error)}") from error
    try:
        inner.set_task({"a name that no task has": 0})
        yield Finding(False, "set_task accepts a task with an unknown name: refuse it, for users mistype.")
    except Exception:
        pass


def sampled_tasks(env: gym.Env, seed: int) -> list[Task]:
    """A few tasks drawn with a generator of that seed, as plain numbers.

    Raises:
        CannotGoOn: `sample_tasks` takes other arguments, fails, or returns something else than a list of tasks.
    """
    sample = task_env_of(env).sample_tasks
    try:
        inspect.signature(sample).bind(_TASKS, np.random.default_rng(0))
    except TypeError as error:
        raise CannotGoOn(f"sample_tasks must take (count, rng): {error}.") from error
    try:
        drawn = sample(_TASKS, np.random.default_rng(seed))
    except Exception as error:
        raise CannotGoOn(f"sample_tasks({_TASKS}, rng) failed: {one_line(error)}") from error
    if not isinstance(drawn, (list, tuple)) or len(drawn) != _TASKS:
        raise CannotGoOn(f"sample_tasks({_TASKS}, rng) must return a list of {_TASKS} tasks, got {drawn!r}."[:300])
    try:
        return [plain_task(task) for task in drawn]
    except TaskError as error:
        raise CannotGoOn(f"sample_tasks returned a task that cannot be stored: {error}") from error
