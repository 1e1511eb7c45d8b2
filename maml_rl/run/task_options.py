"""Tasks that a user names on a command line: read from JSON, and shown to the environment before any work."""

import json
from typing import Any

import gymnasium as gym

from maml_rl.rl.environments.task_env import Task, task_env_of
from maml_rl.rl.environments.vector import EnvironmentConfig, make_single
from maml_rl.run.errors import UsageError

__all__ = ["accepted_task", "task_from_json"]


def task_from_json(text: str) -> Task:
    """The task that `text` describes.

    Raises:
        UsageError: it is not a JSON object.
    """
    try:
        task = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"`task` must be JSON such as '{{\"velocity\": 1.5}}', got {text!r} ({error}).") from None
    if not isinstance(task, dict):
        raise UsageError(f"`task` must be a JSON object, got {text!r}.")
    return task


def accepted_task(config: EnvironmentConfig, task: Task | None, **extra: Any) -> gym.Env:
    """One environment that has accepted the task, if there is one.

    Args:
        config: the environment.
        task: which task.
        **extra: further arguments of its constructor, such as render_mode.

    Raises:
        UsageError: the environment cannot be made, or refuses the task.
    """
    env = None
    try:
        env = make_single(config, **extra)
        if task is not None:
            task_env_of(env).set_task(task)
    except Exception as error:  # whatever an environment says of a task it does not take
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise UsageError(reason if env is None else f"task {json.dumps(task)} is refused: {reason}") from error
    return env
