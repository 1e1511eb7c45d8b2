"""Update rules that are programs of a language (Bello et al., 2017), one of them or many side by side."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from maml_rl.core.estimators.seeded import seeded_normal, seeded_uniform
from maml_rl.core.rules.decays import share_of
from maml_rl.core.rules.language import BINARY, FAST, KEEP_LEFT, OPERANDS, SLOW, UNARY, Language, Moment, Program, Words
from maml_rl.core.rules.sgd import gradient
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["direction", "programmed"]


def programmed(
    language: Language, program: Program | Words, rate: Tensor | float, horizon: int, seed: Tensor | None = None
) -> Rule:
    """phi_{k+1} = phi_k - rate * direction(program, g_k, ...), with the language's moments as its memory.

    Program, rate and seed may be mapped by `torch.func.vmap`, so that many programs run side by side: all words of the
    language are computed for each, and one is taken. A program of plain numbers computes its own words only. Results
    that are not finite stay so.

    Args:
        language: of the program.
        program: see `Program`.
        rate: a number.
        horizon: T, the steps of the training, which decays go by; steps behind it count as the last one.
        seed: of noise and of what is dropped, an int64 scalar; 0 where nothing is given.
    """

    def start(params: Params, meta: Meta) -> dict[str, Tensor]:
        flat = flatten(params)
        return {part: torch.zeros_like(flat) for part in ("mean", "square", "cube")}

    def move(signal: Params, state: InnerState, meta: Meta, step: Any) -> InnerState:
        weights, slope, memory = flatten(state.params), flatten(signal), state.memory
        mean = FAST * memory["mean"] + (1 - FAST) * slope
        square = SLOW * memory["square"] + (1 - SLOW) * slope.square()
        cube = SLOW * memory["cube"] + (1 - SLOW) * slope**3
        at = torch.as_tensor(step, device=weights.device)
        source = (torch.zeros((), dtype=torch.int64, device=weights.device) if seed is None else seed) + at.long()
        count, dtype = len(weights), weights.dtype
        share = share_of(at.to(dtype), horizon)

        def chance(operation: int, side: int) -> Tensor:
            return seeded_uniform(source, count, stream=2 + 2 * operation + side, dtype=dtype)

        normal = partial(seeded_normal, source, count, dtype=dtype)
        moment = Moment(weights, slope, mean, square, cube, at.to(dtype), share, normal, chance)
        moved = weights - rate * direction(language, program, moment)
        return InnerState(unflatten(moved, state.params), {"mean": mean, "square": square, "cube": cube})

    return Rule("programmed", start, gradient, move)


def direction(language: Language, program: Program | Words, moment: Moment) -> Tensor:
    """What a program makes of a moment, [P]. A program of plain numbers computes what its result depends on, only."""
    operands: list[Callable[[], Tensor]] = [partial(OPERANDS[name], moment) for name in language.operands]
    for index in range(language.operations):
        operands.append(cache(partial(_operation, language, program[index], index, tuple(operands), moment)))
    return operands[-1]()


def _operation(
    language: Language, words: Any, index: int, operands: Sequence[Callable[[], Tensor]], moment: Moment
) -> Tensor:
    left, right, first, second, both = words

    def side(which: int, operand: Tensor | int, word: Tensor | int) -> Tensor:
        chance: Callable[[], Tensor] = partial(moment.chance, index, which)
        drawn = chance if isinstance(word, int) else cache(chance)
        return _one([UNARY[name] for name in language.unary], word, _one(operands, operand), drawn)

    if isinstance(both, int) and language.binary[both] == KEEP_LEFT:
        return side(0, left, first)
    return _one([BINARY[name] for name in language.binary], both, side(0, left, first), side(1, right, second))


def _one(choices: Sequence[Callable[..., Tensor]], index: Tensor | int, *arguments: Any) -> Tensor:
    """One of the results: computed alone where it is known which, or taken from all of them."""
    if isinstance(index, int):
        return choices[index](*arguments)
    return torch.stack([choice(*arguments) for choice in choices])[index]
