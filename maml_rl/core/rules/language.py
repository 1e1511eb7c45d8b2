"""The language of update rules: b(u1(x1), u2(x2)), one operation after the other (Bello et al., 2017, section 3)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from maml_rl.core.rules.decays import DECAYS

__all__ = ["BINARY", "KEEP_LEFT", "OPERANDS", "UNARY", "Language", "Moment", "Program", "Words", "words_of"]

Program: TypeAlias = Tensor
"""Operations in their order, [G, 5] whole numbers: two operands, the unary function of each, and the binary function of
both. Operands from the number of plain ones on are the results of earlier operations. The result of the last one is the
direction that is taken off the parameters."""

Words: TypeAlias = list[list[int]]
"""A program as plain numbers."""

_SMALL = 1e-8
_NOISE = 0.1


class Moment(NamedTuple):
    """What a step knows of each parameter, [P] a part, and of the training.

    Attributes:
        weights: the parameters.
        gradient: g.
        mean: of gradients, m_t = 0.9 m_{t-1} + 0.1 g, not corrected for its start.
        square: of their squares, with 0.999.
        cube: of their cubes, with 0.999.
        step: t, counted from 0.
        share: t / (T - 1), how much of the training is over.
        normal: ``normal()`` is standard normal noise [P].
        chance: ``chance(operation, side)`` is uniform noise in [0, 1) for what is dropped there, [P].
    """

    weights: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    cube: Tensor
    step: Tensor
    share: Tensor
    normal: Callable[[], Tensor]
    chance: Callable[[int, int], Tensor]


FAST, SLOW = 0.9, 0.999
"""Decays of the mean, and of the means of squares and cubes."""


def _unbiased(value: Tensor, decay: float, moment: Moment) -> Tensor:
    return value / (1 - decay ** (moment.step + 1))


def _mean(moment: Moment) -> Tensor:
    return _unbiased(moment.mean, FAST, moment)


def _square(moment: Moment) -> Tensor:
    return _unbiased(moment.square, SLOW, moment)


def _decay(decay: Callable[[Tensor], Tensor], moment: Moment) -> Tensor:
    return decay(moment.share).expand_as(moment.gradient)


OPERANDS: dict[str, Callable[[Moment], Tensor]] = {
    "g": lambda moment: moment.gradient,
    "g^2": lambda moment: moment.gradient.square(),
    "g^3": lambda moment: moment.gradient**3,
    "m": _mean,
    "v": _square,
    "c": lambda moment: _unbiased(moment.cube, SLOW, moment),
    "sign(g)": lambda moment: moment.gradient.sign(),
    "sign(m)": lambda moment: moment.mean.sign(),
    "1": lambda moment: torch.ones_like(moment.gradient),
    "2": lambda moment: torch.full_like(moment.gradient, 2.0),
    "noise": lambda moment: _NOISE * moment.normal(),
    "1e-4 w": lambda moment: 1e-4 * moment.weights,
    "1e-3 w": lambda moment: 1e-3 * moment.weights,
    "1e-2 w": lambda moment: 1e-2 * moment.weights,
    "1e-1 w": lambda moment: 1e-1 * moment.weights,
    "adam": lambda moment: _mean(moment) / (_square(moment).sqrt() + _SMALL),
    "rmsprop": lambda moment: moment.gradient / (moment.square.sqrt() + _SMALL),
    **{name: partial(_decay, decay) for name, decay in DECAYS.items()},
}
"""Plain operands: powers of the gradient, its means corrected for their start (m, v and c of the first three powers),
signs, numbers, normal noise with a standard deviation of 0.1, weights, Adam's and RMSProp's directions, and decays over
the whole training: to 0 along a line or half a cosine wave, or the latter ten times over (Loshchilov and Hutter, 2017).
"""

Chance: TypeAlias = Callable[[], Tensor]

UNARY: dict[str, Callable[[Tensor, Chance], Tensor]] = {
    "{}": lambda x, chance: x,
    "-{}": lambda x, chance: -x,
    "exp({})": lambda x, chance: x.exp(),
    "log|{}|": lambda x, chance: x.abs().log(),
    "sqrt|{}|": lambda x, chance: x.abs().sqrt(),
    "clip({}, 1e-5)": lambda x, chance: x.clamp(-1e-5, 1e-5),
    "clip({}, 1e-4)": lambda x, chance: x.clamp(-1e-4, 1e-4),
    "clip({}, 1e-3)": lambda x, chance: x.clamp(-1e-3, 1e-3),
    "drop({}, 0.1)": lambda x, chance: _dropped(x, chance, 0.1),
    "drop({}, 0.3)": lambda x, chance: _dropped(x, chance, 0.3),
    "drop({}, 0.5)": lambda x, chance: _dropped(x, chance, 0.5),
    "sign({})": lambda x, chance: x.sign(),
}
"""Unary functions by how a formula has them; what is dropped is 0 with the given probability."""


def _dropped(x: Tensor, chance: Chance, probability: float) -> Tensor:
    return torch.where(chance() < probability, 0.0, x / (1 - probability))


KEEP_LEFT = "{}"

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "({} + {})": torch.add,
    "({} - {})": torch.sub,
    "({} * {})": torch.mul,
    "({} / ({} + 1e-8))": lambda x, y: x / (y + _SMALL),
    "({} ^ {})": torch.pow,
    KEEP_LEFT: lambda x, y: x,
}
"""Binary functions by how a formula has them; the last one keeps its left side."""


@dataclass(frozen=True)
class Language:
    """Which programs there are.

    Attributes:
        operations: G, of each program.
        operands: plain operands.
        unary: unary functions.
        binary: binary functions.

    Raises:
        ValueError: a word that there is none of, the same one twice, or none at all.
    """

    operations: int = 2
    operands: Sequence[str] = tuple(OPERANDS)
    unary: Sequence[str] = tuple(UNARY)
    binary: Sequence[str] = tuple(BINARY)

    def __post_init__(self) -> None:
        if self.operations < 1:
            raise ValueError(f"`operations` must be at least 1, got {self.operations}.")
        for name, known in (("operands", OPERANDS), ("unary", UNARY), ("binary", BINARY)):
            words: Sequence[str] = getattr(self, name)
            unknown = [word for word in words if word not in known]
            if unknown:
                raise ValueError(f"`{name}` has {unknown[0]!r}; there are {', '.join(known)}.")
            if not words or len(set(words)) < len(words):
                raise ValueError(f"`{name}` must be words, each once, got {list(words)}.")

    def choices(self, operation: int) -> tuple[int, int, int, int, int]:
        """How many words each of the five places of an operation chooses from; operations count from 0."""
        operands = len(self.operands) + operation
        return operands, operands, len(self.unary), len(self.unary), len(self.binary)

    @property
    def size(self) -> int:
        """How many programs there are."""
        return math.prod(math.prod(self.choices(operation)) for operation in range(self.operations))

    def program(self, *operations: tuple[str, str, str, str, str]) -> Program:
        """The program of these words; ``"#1"`` is the result of the first operation.

        PowerSign, for one, is ``("sign(g)", "sign(m)", "{}", "{}", "({} * {})"), ("#1", "g", "exp({})", "{}",
        "({} * {})")``.

        Raises:
            ValueError: a word that the language has not, or another number of operations than it has.
        """
        if len(operations) != self.operations:
            raise ValueError(f"programs here have {self.operations} operations, got {len(operations)}.")
        rows = []
        for index, words in enumerate(operations):
            operands = [*self.operands, *(f"#{earlier + 1}" for earlier in range(index))]
            places = (operands, operands, self.unary, self.unary, self.binary)
            unknown = [word for word, known in zip(words, places, strict=True) if word not in known]
            if unknown:
                raise ValueError(f"operation {index + 1} has {unknown[0]!r}, which this language has not there.")
            rows.append([list(known).index(word) for word, known in zip(words, places, strict=True)])
        return torch.tensor(rows)

    def drawn(self, count: int, generator: torch.Generator) -> Program:
        """Programs at random, every word of a place equally likely, [count, G, 5]."""
        return torch.stack(
            [
                torch.stack(
                    [torch.randint(options, (count,), generator=generator) for options in self.choices(index)], 1
                )
                for index in range(self.operations)
            ],
            1,
        )

    def programs(self) -> Program:
        """All of them, [size, G, 5]: for small languages."""
        places = [range(options) for index in range(self.operations) for options in self.choices(index)]
        return torch.tensor(list(product(*places))).view(-1, self.operations, 5)

    def formula(self, program: Program | Words) -> str:
        """The program as a formula, without what the result does not depend on."""
        results: list[str] = []
        for left, right, first, second, both in words_of(program):
            operands = [*self.operands, *results]
            sides = [self.unary[u].format(operands[x]) for u, x in ((first, left), (second, right))]
            results.append(self.binary[both].format(*sides))
        return results[-1]


def words_of(program: Program | Words) -> Words:
    """The program as plain numbers."""
    return program.tolist() if isinstance(program, Tensor) else program
