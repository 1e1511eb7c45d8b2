"""What a task distribution is, apart from how it is stepped: spaces, parameters, and pure array functions.

The functions work on n environments at once and are used by the single and by the vector environment alike, so that
both return the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maml_rl.rl.tasks import Task, TaskError

__all__ = [
    "Array",
    "Definition",
    "Interval",
    "Simulator",
    "TaskArrays",
    "check_options",
    "positive",
    "scaled_box",
    "whole",
]

Array: TypeAlias = NDArray[np.float64]

TaskArrays: TypeAlias = dict[str, Array]
"""Task parameters of n environments: [n] for numbers, [n, d] for vectors."""


@dataclass(frozen=True)
class Interval:
    """A task parameter's range, drawn uniformly: numbers, or vectors of one length."""

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]

    def __post_init__(self) -> None:
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        if low.shape != high.shape or low.ndim > 1 or not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(f"a task range needs finite bounds of one shape, got {self.low} and {self.high}.")
        if (low > high).any():
            raise ValueError(f"a task range needs low <= high, got {self.low} and {self.high}.")


class Simulator(Protocol):
    """The dynamics of n environments. It holds no state of theirs."""

    def initial(self, rng: np.random.Generator) -> Array:
        """The state of one environment at the start of an episode, [state]."""

    def advance(self, states: Array, controls: Array) -> Array:
        """The states after one environment step, [n, state], from states [n, state] and controls [n, A]."""


@dataclass(frozen=True)
class Definition:
    """A task distribution.

    Attributes:
        name: how messages call it.
        parameters: name -> range of the task's parameters.
        observation_space: of one environment.
        action_space: of one environment; actions outside it are clipped.
        horizon: steps after which an episode is cut.
        observe: states [n, state] -> observations [n, O].
        control: actions [n, A], clipped to the action space -> controls [n, A].
        reward: (states, controls, next states, tasks) -> rewards [n].
        terminated: (next states, tasks) -> whether the task ended the episode, [n].
        paint: (states of the episode so far [t, state], task, simulator) -> a picture [height, width, 3], uint8.
    """

    name: str
    parameters: Mapping[str, Interval]
    observation_space: spaces.Box
    action_space: spaces.Box
    horizon: int
    observe: Callable[[Array], Array]
    control: Callable[[Array], Array]
    reward: Callable[[Array, Array, Array, TaskArrays], Array]
    terminated: Callable[[Array, TaskArrays], NDArray[np.bool_]]
    paint: Callable[[Array, Task, Any], NDArray[np.uint8]]

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks, each parameter uniform over its range and independent of the others."""
        return [
            {name: rng.uniform(interval.low, interval.high).tolist()  # type: ignore[union-attr]
             if np.ndim(interval.low) else float(rng.uniform(interval.low, interval.high))
             for name, interval in self.parameters.items()}
            for _ in range(count)
        ]  # fmt: skip

    def check_task(self, task: Task) -> Task:
        """The task with plain numbers.

        Raises:
            TaskError: unknown or missing names, wrong shapes, values out of range.
        """
        if not isinstance(task, Mapping) or set(task) != set(self.parameters):
            raise TaskError(f"a task of {self.name} has the keys {sorted(self.parameters)}, got {task!r}.")
        return {name: self._check_value(name, task[name]) for name in self.parameters}

    def _check_value(self, name: str, value: Any) -> float | list[float]:
        interval = self.parameters[name]
        low, high = np.asarray(interval.low, float), np.asarray(interval.high, float)
        try:
            given = np.asarray(value, float)
        except (TypeError, ValueError):
            given = np.full((), np.nan)
        if given.shape != low.shape or not ((given >= low) & (given <= high)).all():
            raise TaskError(f"{name} of {self.name} must be within {interval.low} and {interval.high}, got {value!r}.")
        plain: float | list[float] = given.tolist()
        return plain

    def stack_tasks(self, tasks: Sequence[Task]) -> TaskArrays:
        """Checked tasks as arrays, by parameter."""
        checked: dict[int, Task] = {}
        for task in tasks:  # episodes share their task's dictionary, so each is checked once
            if id(task) not in checked:
                checked[id(task)] = self.check_task(task)
        return {name: np.array([checked[id(task)][name] for task in tasks], float) for name in self.parameters}

    def check_actions(self, actions: Any, count: int | None) -> Array:
        """Actions as floats, clipped to the action space.

        Raises:
            ValueError: wrong shape, or an entry that is not a finite number.
        """
        shape = self.action_space.shape if count is None else (count, *self.action_space.shape)
        given = np.asarray(actions, np.float64)
        if given.shape != shape:
            raise ValueError(f"actions of {self.name} must be {shape}, got {given.shape}.")
        if not np.isfinite(given).all():
            raise ValueError(f"actions of {self.name} must be finite numbers, got {given[~np.isfinite(given)][0]}.")
        return np.clip(given, self.action_space.low, self.action_space.high)


def positive(**numbers: float) -> None:
    """Refuses constructor arguments that are not positive, by name.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in numbers.items():
        if not isinstance(value, Real) or not 0 < value < float("inf"):
            raise ValueError(f"`{name}` must be a positive number, got {value!r}.")


def whole(**numbers: int) -> None:
    """Refuses constructor arguments that are not whole positive numbers, by name.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in numbers.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")


def check_options(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuses reset options that would be ignored.

    Raises:
        ValueError: one of them is not known.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"reset options are {' and '.join(known)}, got {', '.join(unknown)}.")


def scaled_box(size: int, scale: float) -> spaces.Box:
    """The action space [-scale, scale]^size."""
    return spaces.Box(-scale, scale, (size,), np.float64)
