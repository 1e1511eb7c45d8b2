"""Meta-gradients by differentiating an unroll: whole lifetimes, or truncated pieces of them."""

from dataclasses import replace

import torch
from torch import Tensor

from maml_rl.core.estimators.problem import Carry, Estimate, Estimator, Lifetimes, Problem
from maml_rl.core.estimators.segments import (
    Outcome,
    Segment,
    advance,
    concluded,
    entered,
    next_segment,
    require_positive,
    starting,
)
from maml_rl.core.estimators.stepwise import Steps
from maml_rl.core.tree import floats
from maml_rl.core.types import Batch, Memory, Meta

__all__ = ["full_unroll", "truncated_unroll"]


def full_unroll(problem: Problem, lifetimes: Lifetimes) -> Estimator:
    """d/dtheta (1/T) sum_{k<T} loss_k, through a whole lifetime: every estimate lives N new ones from begin to end.

    It is exact, and its memory grows with T.

    Raises:
        ValueError: the lifetimes' length is not one number, or they have no end.
    """
    if not isinstance(lifetimes.length, int) or lifetimes.endless:
        raise ValueError(
            "a full unroll needs lifetimes of one length. Give it a whole number, or take `truncated_unroll`."
        )
    whole = truncated_unroll(problem, replace(lifetimes, staggered=False), lifetimes.length)
    return whole._replace(name="full_unroll")


def truncated_unroll(problem: Problem, lifetimes: Lifetimes, unroll: int) -> Estimator:
    """d/dtheta (1/L) sum_{k = t .. t+L-1} loss_k with the carry c_t taken for a constant (Werbos, 1990).

    Its memory grows with L and not with T. What theta does to losses more than L steps later is lost, so it is biased
    wherever there is such a thing (Wu et al., 2018). With L = T it is `full_unroll`.

    Args:
        problem: what is lived.
        lifetimes: how many, and for how long.
        unroll: L, the steps of one estimate.

    Raises:
        ValueError: `unroll` is not positive.
    """
    require_positive(unroll=unroll)

    def mean_loss(theta: Meta, segment: Segment) -> tuple[Tensor, tuple[Carry, Tensor]]:
        carry, losses = advance(problem, theta, entered(problem, theta, segment), segment, range(unroll))
        every = torch.stack(losses)
        return every.sum() / unroll, (carry, every)

    steps = Steps(problem, lifetimes)

    def slope_by_steps(theta: Meta, segment: Segment) -> tuple[Meta, tuple[Carry, Tensor]]:
        carries, losses = steps.walk(theta, segment, unroll)
        after = [torch.zeros_like(leaf) for leaf in floats(carries[-1])]
        weight = torch.full_like(losses[:, 0], 1 / unroll)
        return steps.back(theta, segment, carries[:-1], after, weight), (carries[-1], losses)

    slope = slope_by_steps if lifetimes.stepwise else lifetimes.mapped(torch.func.grad(mean_loss, has_aux=True))

    @torch.no_grad()
    def estimate(theta: Meta, memory: Memory, data: Batch, generator: torch.Generator) -> Estimate:
        segment = next_segment(lifetimes, memory, data, unroll)
        slopes, (carry, losses) = slope(theta, segment)
        return concluded(lifetimes, memory, segment, Outcome(slopes, carry, losses, losses), generator)

    return Estimator(
        "truncated_unroll", unroll, lambda theta, generator: starting(problem, lifetimes, theta, generator), estimate
    )
