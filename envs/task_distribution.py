"""What a task distribution is, apart from how it is stepped: spaces, parameters, and pure array functions.

The functions work on n environments at once and are used by the single and by the vector environment alike, so that
both return the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.parameter_ranges import Range
from maml_rl.rl.environments.task_env import Task, TaskError

__all__ = [
    "FOREVER",
    "Array",
    "Closable",
    "Simulator",
    "TaskArrays",
    "TaskDependent",
    "TaskDistribution",
    "assign_tasks",
    "scaled_box",
]

Array: TypeAlias = NDArray[np.float64]

FOREVER = 2**53
"""Steps that float64 counts without a gap: a horizon that nobody reaches."""

TaskArrays: TypeAlias = dict[str, Array]
"""Task parameters of n environments: [n] for numbers, [n, ...] for arrays."""


class Simulator(Protocol):
    """The dynamics of n environments. It holds no state of theirs.

    A simulator whose dynamics depend on the task is `TaskDependent` too, and one that holds threads is `Closable`.
    """

    def initial(self, rng: np.random.Generator) -> Array:
        """The state of one environment at the start of an episode, [state]."""

    def advance(self, states: Array, controls: Array) -> Array:
        """The states after one environment step, [n, state], from states [n, state] and controls [n, A] or [n]."""


@runtime_checkable
class TaskDependent(Protocol):
    """A simulator whose dynamics depend on the task."""

    def assign(self, tasks: Sequence[Task]) -> None:
        """Takes the task of each environment, before the episodes that it holds for."""


@runtime_checkable
class Closable(Protocol):
    """A simulator that holds threads."""

    def close(self) -> None:
        """Ends the threads."""


@dataclass(frozen=True)
class TaskDistribution:
    """A task distribution, apart from its dynamics.

    Attributes:
        name: how messages call it.
        parameters: name -> range of the task's parameters.
        observation_space: of one environment.
        action_space: of one environment; actions outside a Box are clipped, others refused.
        horizon: steps after which an episode is truncated.
        observe: states [n, state] -> observations [n, O].
        control: actions of the action space, [n, A] or [n] -> controls.
        reward: (states, controls, next states, tasks) -> rewards [n].
        terminated: (next states, tasks) -> whether the task ended the episode, [n].
        render: (states of the episode so far [t, state], task) -> a picture [height, width, 3], uint8.
        references: (task, steps) -> expected returns to compare others with, by name: "optimal", "random".
        rendered_states: how many of the latest states `render` is given; all of the episode's where nothing is said.
            Episodes of millions of steps need it, for these states are kept in memory.
        state_values: task -> observations of all states [S, O] and the expected undiscounted return from each, [S],
            where they are known. They hold for episodes that are not truncated.
        tensors: whether `observe`, `control`, `reward` and the simulator take torch's tensors as well as arrays, and no
            task ever ends an episode. Rollouts can be compiled then, where actions are choices counted from 0 and the
            horizon is `FOREVER`.
    """

    name: str
    parameters: Mapping[str, Range]
    observation_space: spaces.Box
    action_space: spaces.Box | spaces.Discrete
    horizon: int
    observe: Callable[[Array], Array]
    control: Callable[[NDArray[Any]], Array]
    reward: Callable[[Array, Array, Array, TaskArrays], Array]
    terminated: Callable[[Array, TaskArrays], NDArray[np.bool_]]
    render: Callable[[Array, Task], NDArray[np.uint8]]
    references: Callable[[Task, int], dict[str, float]] | None = None
    rendered_states: int | None = None
    state_values: Callable[[Task], tuple[Array, Array]] | None = None
    tensors: bool = False

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks, each parameter from its range and independent of the others."""
        return [
            {name: np.asarray(values.draw(rng), float).tolist() for name, values in self.parameters.items()}
            for _ in range(count)
        ]

    def reference_returns(self, task: Task, steps: int) -> dict[str, float]:
        """Expected returns of `steps` steps to compare others with, such as the optimum; empty where none are known."""
        return {} if self.references is None else self.references(task, steps)

    def check_task(self, task: Task) -> Task:
        """The task with plain numbers.

        Raises:
            TaskError: unknown or missing names, wrong shapes, values out of range.
        """
        if not isinstance(task, Mapping) or set(task) != set(self.parameters):
            raise TaskError(f"a task of {self.name} has the keys {sorted(self.parameters)}, got {task!r}.")
        return {name: self._check_value(name, task[name]) for name in self.parameters}

    def _check_value(self, name: str, value: Any) -> Any:
        values = self.parameters[name]
        try:
            given = np.asarray(value, float)
        except (TypeError, ValueError):
            given = np.full((), np.nan)
        if given.shape != values.shape or not values.holds(given):
            shown = repr(value) if len(repr(value)) < 200 else f"{repr(value)[:200]}..."
            raise TaskError(f"{name} of {self.name} must be {values}, got {shown}.")
        return given.tolist()

    def stack_tasks(self, tasks: Sequence[Task]) -> TaskArrays:
        """Checked tasks as arrays, by parameter."""
        checked: dict[int, Task] = {}
        for task in tasks:  # episodes share their task's dictionary, so each is checked once
            if id(task) not in checked:
                checked[id(task)] = self.check_task(task)
        return {name: np.array([checked[id(task)][name] for task in tasks], float) for name in self.parameters}

    def check_actions(self, actions: Any, count: int | None) -> NDArray[Any]:
        """Actions as floats, clipped to the action space, or as whole numbers of a discrete one.

        Raises:
            ValueError: wrong shape, an entry that is not a finite number, or a choice that there is not.
        """
        shape = (() if count is None else (count,)) + (self.action_space.shape or ())
        if isinstance(self.action_space, spaces.Discrete):
            return _check_choices(self.name, self.action_space, actions, shape)
        given = np.asarray(actions, np.float64)
        if given.shape != shape:
            raise ValueError(f"actions of {self.name} must be {shape}, got {given.shape}.")
        if not np.isfinite(given).all():
            raise ValueError(f"actions of {self.name} must be finite numbers, got {given[~np.isfinite(given)][0]}.")
        return np.clip(given, self.action_space.low, self.action_space.high)


def assign_tasks(simulator: Simulator, tasks: Sequence[Task]) -> None:
    """Gives a simulator whose dynamics depend on the task the task of each environment."""
    if isinstance(simulator, TaskDependent):
        simulator.assign(tasks)


def _check_choices(name: str, space: spaces.Discrete, actions: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    given = np.asarray(actions)
    if given.shape != shape or given.dtype.kind not in "iu":
        raise ValueError(f"actions of {name} must be whole numbers of shape {shape}, got {given.dtype} {given.shape}.")
    first, last = int(space.start), int(space.start + space.n - 1)
    if ((given < first) | (given > last)).any():
        wrong = given[(given < first) | (given > last)].flat[0]
        raise ValueError(f"actions of {name} must be between {first} and {last}, got {wrong}.")
    return given


def scaled_box(size: int, scale: float) -> spaces.Box:
    """The action space [-scale, scale]^size."""
    return spaces.Box(-scale, scale, (size,), np.float64)
