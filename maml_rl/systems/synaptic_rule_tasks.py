"""Which tasks a synaptic rule is learned on, and which are held out."""

from typing import NamedTuple

import torch
from torch import Generator

from maml_rl.problems.boolean import boolean_functions
from maml_rl.problems.conditioning import conditioning_lessons
from maml_rl.problems.lessons import Lesson, boolean_lesson
from maml_rl.systems.synaptic_rule_config import TasksConfig

__all__ = ["Split", "split_tasks"]


class Split(NamedTuple):
    """Tasks, no one in both parts.

    Attributes:
        training: what the rule is learned on.
        held_out: what it is evaluated on.
    """

    training: tuple[Lesson, ...]
    held_out: tuple[Lesson, ...]


def split_tasks(config: TasksConfig, generator: Generator) -> Split:
    """Held-out tasks first, then those for training: the held-out ones are the same whatever `config.training` is.

    A name of an experiment of conditioning stands for both of its versions.

    Args:
        config: which tasks, and how many.
        generator: draws them.

    Raises:
        ValueError: there are not so many tasks, or none of a name.
    """
    pool = _pool(config)
    order = [pool[place] for place in torch.randperm(len(pool), generator=generator).tolist()]
    if isinstance(config.held_out, int):
        held_out = order[: config.held_out]
    else:
        known = {name for lesson in pool for name in (lesson.name, _experiment(lesson))}
        for name in config.held_out:
            if name not in known:
                raise ValueError(f"`tasks.held_out`: there is no task {name!r}; there are {', '.join(sorted(known))}.")
        held_out = [lesson for lesson in order if {lesson.name, _experiment(lesson)} & set(config.held_out)]
    rest = [lesson for lesson in order if lesson not in held_out]
    wanted = len(rest) if config.training is None else config.training
    if not rest or wanted > len(rest):
        told = f"`tasks.training` {wanted} and {len(held_out)} held-out tasks" if rest else "`tasks.held_out`"
        raise ValueError(f"{told}: there are {len(pool)} tasks, and {len(rest)} left for training.")
    return Split(tuple(rest[:wanted]), tuple(held_out))


def _pool(config: TasksConfig) -> list[Lesson]:
    lessons: list[Lesson] = []
    for separable, family in ((True, "separable"), (False, "inseparable")):
        if family in config.families:
            functions = boolean_functions(config.inputs)
            lessons += [boolean_lesson(function) for function in functions if function.separable == separable]
    return lessons + (conditioning_lessons() if "conditioning" in config.families else [])


def _experiment(lesson: Lesson) -> str:
    return lesson.name.removesuffix(" (swapped)")
