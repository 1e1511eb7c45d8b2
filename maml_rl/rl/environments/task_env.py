"""What an environment has to offer to be a task distribution: two methods, and what it may offer besides."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "HasHorizon",
    "HasReferenceReturns",
    "HasSnapshots",
    "HasStateValues",
    "HasTasks",
    "HasTensorSteps",
    "Task",
    "TaskEnv",
    "TaskError",
    "TensorStep",
    "VectorTaskEnv",
    "plain_task",
    "task_env_of",
]

Task: TypeAlias = dict[str, Any]
"""One task, by the names of its parameters: ``{"velocity": 1.5}``. Plain numbers and lists, so it goes into JSON."""


class TaskError(ValueError):
    """A task that the environment does not know or does not accept."""


def plain_task(task: Any) -> Task:
    """The task with numpy's numbers and arrays as plain ones, so that it goes into JSON.

    Raises:
        TaskError: it is not a dictionary, or holds something that is neither a number, a string, a truth value, None,
            nor a list or dictionary of them, or a number that is not finite.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, (np.generic, np.ndarray)):
            value = value.tolist()
        if isinstance(value, Mapping):
            return {str(name): plain(entry) for name, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(entry) for entry in value]
        if isinstance(value, float) and not math.isfinite(value):
            raise TaskError(f"a task must be made of finite numbers, got {value}.")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TaskError(f"a task must be made of numbers, strings, lists and dictionaries, got {value!r}.")

    if not isinstance(task, Mapping):
        raise TaskError(f"a task must be a dictionary, got {task!r}.")
    result: Task = plain(task)
    return result


@runtime_checkable
class TaskEnv(Protocol):
    """A Gymnasium environment that is a distribution over tasks.

    These two methods are all that a third party implements; they stand on the unwrapped environment.
    """

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks with `rng`, independently of the environment's own state."""

    def set_task(self, task: Task) -> None:
        """Makes `task` the one that the next `reset` starts.

        Raises:
            TaskError: the task has unknown names or values out of range.
        """


@runtime_checkable
class HasHorizon(Protocol):
    """An environment that knows its own horizon."""

    @property
    def horizon(self) -> int | None:
        """Steps after which an episode ends, if there is a limit."""


@runtime_checkable
class HasReferenceReturns(Protocol):
    """A task environment that knows expected returns to compare others with."""

    def reference_returns(self, task: Task, steps: int) -> dict[str, float]:
        """Expected returns of `steps` steps by name, such as "optimal" and "random"; empty where none are known."""


@runtime_checkable
class HasStateValues(Protocol):
    """An environment, or a vector of them, that may know the true values of a task's states.

    Learners of values are held against them. Having the method promises nothing: it returns None where values are not
    known.
    """

    def state_values(self, task: Task) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Observations of all states [S, O] and the expected undiscounted return from each, [S]; None if unknown."""


@runtime_checkable
class HasTasks(Protocol):
    """A vector of environments that tells the tasks in force, because its `reset` may draw or take some."""

    @property
    def tasks(self) -> list[Task | None]:
        """The task of each sub-environment, [n]; None before the first one."""


@runtime_checkable
class HasSnapshots(Protocol):
    """A vector of environments that can be stored in the middle of episodes and gone on with, bit by bit."""

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Arrays of float64, int64 or bool, [n, ...], that say all of where the sub-environments stand but their
        tasks."""

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from a snapshot; the tasks have been set."""


TensorStep: TypeAlias = Callable[[Tensor, Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor, Tensor]]
"""``step(states, actions, tasks)`` for states [n, ...], actions [n] counted from 0 and the tasks' parameters, each
[n, ...]: the next states, their observations [n, O] and the rewards [n]. A pure function of tensors."""


@runtime_checkable
class HasTensorSteps(Protocol):
    """A vector of environments that may know its steps as a function of tensors, and whose episodes then never end.

    Whole rollouts can then be one compiled function. Having the methods promises nothing: `tensor_step` returns None
    where there is no such function.
    """

    def tensor_step(self) -> TensorStep | None:
        """The function, if there is one."""

    def task_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Parameters of the tasks in force, [n, ...] each."""

    def standing(self) -> NDArray[Any]:
        """The states, [n, ...]."""

    def go_on(self, states: NDArray[Any], steps: int) -> None:
        """Takes states to which `steps` steps have led elsewhere."""


@runtime_checkable
class VectorTaskEnv(Protocol):
    """A Gymnasium vector environment whose sub-environments each have a task of their own.

    Its `reset` takes a list of seeds and ``options={"reset_mask": mask}``; its autoreset mode is DISABLED.
    """

    @property
    def num_envs(self) -> int:
        """How many environments step together, n."""

    @property
    def single_observation_space(self) -> gym.Space[Any]:
        """The observation space of one of them."""

    @property
    def single_action_space(self) -> gym.Space[Any]:
        """The action space of one of them."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Gymnasium's; its "autoreset_mode" is DISABLED."""

    @property
    def horizon(self) -> int | None:
        """Steps after which an episode ends; None where only the registration's `max_episode_steps` says it."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts all episodes, or those in the mask."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Observations, rewards, terminations, truncations and info of one step."""

    def close(self, **kwargs: Any) -> None:
        """Frees what the environments hold."""

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks with `rng`."""

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives each sub-environment its task; each then needs a reset."""


def task_env_of(env: gym.Env) -> TaskEnv:
    """The environment inside all wrappers, which has the two methods.

    Raises:
        TypeError: it lacks one of them.
    """
    inner = env.unwrapped
    if not isinstance(inner, TaskEnv):
        raise TypeError(f"{type(inner).__name__} is no task environment: it needs sample_tasks and set_task.")
    return inner
