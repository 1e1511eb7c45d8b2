"""One seed for every random event of a run, made of where it happens: no generator has to be saved."""

from collections.abc import Callable
from typing import TypeAlias

from numpy.random import SeedSequence

__all__ = ["ACTIONS", "RESETS", "StepSeeds", "child_seed", "drawing_seed", "task_seeds"]

RESETS, ACTIONS, _DRAWING = range(3)
"""Children of a task's seed."""

StepSeeds: TypeAlias = Callable[[int], list[SeedSequence]]
"""``seeds(step)`` are the tasks' seeds at an inner step or episode, N of them."""


def task_seeds(seed: int, stream: int, iteration: int, step: int, tasks: int) -> list[SeedSequence]:
    """One seed a task, unique to (seed, stream, iteration, inner step, task).

    `stream` keeps training and evaluation apart. Resets and actions each take a child of it.
    """
    return [SeedSequence([seed, stream, iteration, step, task]) for task in range(tasks)]


def drawing_seed(seed: int, stream: int, iteration: int) -> SeedSequence:
    """The seed that an iteration's tasks are drawn with: a child that neither resets nor actions take."""
    return child_seed(SeedSequence([seed, stream, iteration, 0, 0]), _DRAWING)


def child_seed(seed: SeedSequence, index: int) -> SeedSequence:
    """A child that does not change its parent, unlike `SeedSequence.spawn`."""
    return SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index))
