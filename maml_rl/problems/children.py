"""What update rules are worth: many programs train one small problem side by side (Bello et al., 2017, section 3.3)."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from maml_rl.core.estimators.seeded import seeded_normal, seeded_uniform
from maml_rl.core.rules.decays import share_of
from maml_rl.core.rules.language import FAST, SLOW, Language, Moment, Program
from maml_rl.core.rules.programmed import direction
from maml_rl.core.traced import traced
from maml_rl.core.tree import flatten, unflatten
from maml_rl.problems.problem import TrainingProblem

__all__ = ["FLOOR", "Child", "Children", "Scored", "children"]

FLOOR = 0.0
"""The score of a training that diverges."""


class Child(NamedTuple):
    """What each program is tried out on.

    A training's score is the held-out accuracy at its end. Where nothing is classified it is 1 / (1 + L_T / L_0), of
    the held-out losses after and before: 1 for a perfect end, 1/2 for one no better than the start.

    Attributes:
        problem: what is trained, and what is measured on its held-out data.
        rates: R learning rates.
        seeds: of the problem and of a program's noise, int64 [S].
        steps: T, of a training; decays go by it.
        block: programs that train at once: memory and time depend on it.
    """

    problem: TrainingProblem
    rates: Sequence[float]
    seeds: Tensor
    steps: int
    block: int = 32


class Scored(NamedTuple):
    """What came of B programs.

    Attributes:
        scores: the best over rates of the mean over seeds, float64 [B].
        rates: at which it was, float64 [B].
        each: the score of each training, float64 [B, R, S]; `FLOOR` where its end is not finite.
        finite: which ends are finite, [B, R, S].
    """

    scores: Tensor
    rates: Tensor
    each: Tensor
    finite: Tensor


Children: TypeAlias = Callable[[Program], Scored]
"""``score(programs)`` are the scores of programs [B, G, 5], of none as well: the same ones for the same programs."""

Slopes: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def children(child: Child, language: Language) -> Children:
    """What scores the programs of a language.

    The gradients of all trainings of a block are one mapped function, recorded once for each size of block. From them
    each program makes its direction for all rates and seeds at once, and computes its own words only. The programs of a
    seed see the same data and the same noise.

    Args:
        child: what programs are tried out on.
        language: of the programs.
    """
    like = child.problem.initial(child.seeds[0])
    start = torch.stack([flatten(child.problem.initial(seed)) for seed in child.seeds])

    def loss(flat: Tensor, seed: Tensor, k: Tensor) -> Tensor:
        return child.problem.loss(unflatten(flat, like), seed, k)

    def end(flat: Tensor, first: Tensor, seed: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return _score(child.problem, unflatten(flat, like), unflatten(first, like), seed, k)

    slopes = traced(torch.func.vmap(torch.func.vmap(torch.func.grad(loss), (0, 0, None)), (0, None, None)))
    judged = torch.func.vmap(torch.func.vmap(end, (0, 0, 0, None)), (0, None, None, None))
    last = torch.tensor(child.steps, device=start.device)

    def score(programs: Program) -> Scored:
        none = torch.zeros(0, len(child.rates), len(child.seeds), dtype=torch.float64)
        each, finite = [none], [none.bool()]
        with torch.no_grad():
            for first in range(0, len(programs), child.block):
                weights = _trained(child, language, programs[first : first + child.block], start, slopes)
                one, other = judged(weights.flatten(0, 1), start, child.seeds, last)
                each.append(one.view(weights.shape[:3]).double().cpu())
                finite.append(other.view(weights.shape[:3]).cpu())
        scores, best = torch.cat(each).mean(-1).max(-1)
        return Scored(scores, torch.tensor(child.rates, dtype=torch.float64)[best], torch.cat(each), torch.cat(finite))

    return score


def _score(
    problem: TrainingProblem, params: dict[str, Tensor], first: dict[str, Tensor], seed: Tensor, k: Tensor
) -> tuple[Tensor, Tensor]:
    """The score of a training, and whether its end is finite."""
    loss = problem.held_out(params, seed, k)
    finite = loss.isfinite() & flatten(params).isfinite().all()
    if problem.accuracy is None:
        score = 1 / (1 + loss / problem.held_out(first, seed, torch.zeros_like(k)))
    else:
        score = problem.accuracy(params, seed, k)
    return torch.where(finite, score, FLOOR), finite


def _trained(child: Child, language: Language, programs: Program, start: Tensor, slopes: Slopes) -> Tensor:
    """The weights of each training of a block at its end, [B, R, S, P]."""
    words, count = programs.tolist(), len(programs)
    whole = 1 << (count - 1).bit_length()  # few sizes, because each is recorded
    rates = torch.tensor(child.rates, dtype=start.dtype, device=start.device)[:, None, None]
    weights = start.expand(whole, len(child.rates), *start.shape).clone()
    mean, square, cube = (torch.zeros_like(weights) for _ in range(3))
    for k in range(child.steps):
        step = torch.tensor(k, device=start.device)
        slope = slopes(weights.flatten(0, 1), child.seeds, step).view_as(weights)
        mean.mul_(FAST).add_(slope, alpha=1 - FAST)
        square.mul_(SLOW).addcmul_(slope, slope, value=1 - SLOW)
        cube.mul_(SLOW).add_(slope**3, alpha=1 - SLOW)
        t, (normal, chance) = step.to(start.dtype), _noise(child.seeds + step, start)
        share = share_of(t, child.steps)
        for row, program in enumerate(words):
            moment = Moment(weights[row], slope[row], mean[row], square[row], cube[row], t, share, normal, chance)
            weights[row] -= rates * direction(language, program, moment)
    return weights[:count]


def _noise(seeds: Tensor, like: Tensor) -> tuple[Callable[[], Tensor], Callable[[int, int], Tensor]]:
    """Normal and uniform noise of a step, [S, P] each, as of the rule `programmed`, drawn where a program asks."""

    def normal() -> Tensor:
        return torch.stack([seeded_normal(seed, like.shape[1], dtype=like.dtype) for seed in seeds])

    def chance(operation: int, side: int) -> Tensor:
        draw = partial(seeded_uniform, stream=2 + 2 * operation + side, dtype=like.dtype)
        return torch.stack([draw(seed, like.shape[1]) for seed in seeds])

    return cache(normal), cache(chance)
