"""What a network of plastic synapses is shown over a lifetime: phases of trials, in random order."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from maml_rl.problems.boolean import BooleanFunction, patterns
from maml_rl.problems.plastic_network import Unit

__all__ = ["Lesson", "Lessons", "Phase", "boolean_lesson", "coded_patterns", "drawn_lessons"]


class Phase(NamedTuple):
    """A part of a lesson.

    Attributes:
        trials: pairs (pattern, target) that are shown again and again; patterns by their place in `patterns`.
        wanted: pairs (pattern, response) that the network is tested on, without being taught.
    """

    trials: tuple[tuple[int, bool], ...]
    wanted: tuple[tuple[int, bool], ...]


class Lesson(NamedTuple):
    """A task of a learning rule.

    Attributes:
        name: how tables call it.
        group: what it is counted with, such as "separable".
        phases: one after the other, each for an equal part of the lifetime.
    """

    name: str
    group: str
    phases: tuple[Phase, ...]


class Lessons(NamedTuple):
    """N lifetimes of T presentations with n inputs and Q = 2^n patterns, as an estimator takes them for data.

    Attributes:
        pattern: what is shown, [N, T, n].
        target: what is taught, [N, T].
        wanted: responses to all patterns that are right at this time, [N, T, Q].
        counted: how much each of them counts, [N, T, Q]; adds up to 1 over patterns.
    """

    pattern: Tensor
    target: Tensor
    wanted: Tensor
    counted: Tensor


def boolean_lesson(function: BooleanFunction) -> Lesson:
    """One phase: all patterns with their values, all of which count."""
    pairs = tuple(enumerate(function.values))
    group = "separable" if function.separable else "inseparable"
    return Lesson(function.name, group, (Phase(pairs, pairs),))


def coded_patterns(inputs: int, unit: Unit, dtype: torch.dtype) -> Tensor:
    """All patterns as activities of the unit, [2^n, n]."""
    return unit.low + (1 - unit.low) * torch.tensor(patterns(inputs), dtype=dtype)


def drawn_lessons(
    lessons: Sequence[Lesson], coded: Tensor, unit: Unit, presentations: int, generator: Generator
) -> Lessons:
    """A lifetime for each lesson. The trials of a phase come in rounds; in each round each comes once, in random order.

    Args:
        lessons: N of them.
        coded: the patterns, [Q, n].
        unit: of the network, in whose activities targets are told.
        presentations: T, at least the number of phases.
        generator: draws the orders.
    """
    lives = [_one(lesson, len(coded), presentations, generator) for lesson in lessons]
    shown, target, wanted, counted = (torch.stack(leaves) for leaves in zip(*lives, strict=True))

    def code(bits: Tensor) -> Tensor:
        return unit.low + (1 - unit.low) * bits.to(coded)

    return Lessons(coded[shown], code(target), code(wanted), counted.to(coded))


def _one(lesson: Lesson, count: int, presentations: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which patterns, targets, wanted responses and what counts, in bits: [T], [T], [T, Q], [T, Q]."""
    phases = len(lesson.phases)
    parts: list[tuple[Tensor, ...]] = []
    for index, phase in enumerate(lesson.phases):
        steps = (index + 1) * presentations // phases - index * presentations // phases
        rounds = -(-steps // len(phase.trials))
        order = torch.rand(rounds, len(phase.trials), generator=generator).argsort(-1).flatten()[:steps]
        trials, asked = torch.tensor(phase.trials), torch.tensor(phase.wanted)
        wanted, counted = torch.zeros(count), torch.zeros(count)
        wanted[asked[:, 0]] = asked[:, 1].float()
        counted[asked[:, 0]] = 1 / len(phase.wanted)
        rows = (wanted.expand(steps, count), counted.expand(steps, count))
        parts.append((trials[order, 0], trials[order, 1], *rows))
    first, second, third, fourth = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return first, second, third, fourth
