"""Meta-gradients by a trace of what theta did to the learner, which goes on from step to step (Xu et al., 2018)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from maml_rl.core.estimators.problem import Carry, Estimate, Estimator, Lifetimes, Problem
from maml_rl.core.estimators.segments import (
    Outcome,
    Segment,
    concluded,
    entered,
    next_segment,
    require_positive,
    starting,
    while_it_lives,
)
from maml_rl.core.tree import flatten, floats, map_tree, select, unflatten, with_floats
from maml_rl.core.types import Batch, Memory, Meta

__all__ = ["decayed_trace"]


def decayed_trace(
    problem: Problem, lifetimes: Lifetimes, unroll: int, decay: float, constant: Sequence[str] = ()
) -> Estimator:
    """g = (1/L) sum_k (d loss_k / d theta + d loss_k / d c_k z_k), z_{k+1} = mu z_k + d c_{k+1} / d theta at fixed c_k.

    z is the derivative of the carry in theta as if a step changed the carry by nothing but what theta adds: the true
    recursion has d c_{k+1} / d c_k in the place of mu (Xu et al., 2018, equations 3 and 4). With mu = 0 each loss sees
    the step right before it; with L = 2 steps of a lifetime that is what `truncated_unroll` sees at the second.

    The trace never ends before the lifetime does, so nothing is cut off at the end of an unroll. It has a copy of the
    carry for each number in theta, which suits the few hyper-parameters of a learner; the derivatives are
    Jacobian-vector products, one for each of them, and no graph is kept.

    Args:
        problem: what is lived.
        lifetimes: how many, and for how long.
        unroll: L, the steps of one estimate.
        decay: mu, in [0, 1].
        constant: groups of theta that are not learned; the gradient does not have them.

    Raises:
        ValueError: `unroll` is not positive, or `decay` outside [0, 1].
    """
    require_positive(unroll=unroll)
    if not 0 <= decay <= 1:
        raise ValueError(f"`decay` must be in [0, 1], got {decay}.")

    def lived(whole: Meta, segment: Segment, trace: list[Tensor]) -> tuple[Meta, Carry, Tensor, list[Tensor]]:
        theta, learned = _learned(whole, constant), _with_constants(problem, whole, constant)
        _, born = _along(lambda meta: floats(learned.begin(meta, segment.seed)), theta)
        trace = select(segment.step == 0, born, trace)
        carry, losses = entered(learned, theta, segment), []
        slopes = torch.zeros_like(flatten(theta))
        for index in range(unroll):
            data, k = map_tree(lambda leaf: leaf[index], segment.data), segment.step + index  # noqa: B023
            following, loss, direct, added = _direct(learned, theta, carry, data, k)
            through = _through(learned, theta, carry, data, k, trace)
            decayed = [decay * old + new for old, new in zip(trace, added, strict=True)]
            slopes = slopes + while_it_lives(segment, k, direct + through, torch.zeros_like(direct))
            carry, trace = while_it_lives(segment, k, (following, decayed), (carry, trace))
            losses.append(while_it_lives(segment, k, loss, torch.zeros_like(loss)))
        return unflatten(slopes / unroll, theta), carry, torch.stack(losses), trace

    live = lifetimes.mapped(lived)

    def init(theta: Meta, generator: torch.Generator) -> dict[str, Any]:
        memory = starting(problem, lifetimes, theta, generator)
        numbers = len(flatten(_learned(theta, constant))) // (lifetimes.count if lifetimes.apart else 1)
        trace = [leaf.new_zeros(len(leaf), numbers, *leaf.shape[1:]) for leaf in floats(memory["carry"])]
        return {**memory, "trace": trace}

    @torch.no_grad()
    def estimate(theta: Meta, memory: Memory, data: Batch, generator: torch.Generator) -> Estimate:
        segment = next_segment(lifetimes, memory, data, unroll)
        theta = map_tree(Tensor.contiguous, theta)  # forward derivatives refuse entries that share memory
        slopes, carry, losses, trace = live(theta, segment, memory["trace"])
        result = concluded(lifetimes, memory, segment, Outcome(slopes, (carry, trace), losses, losses), generator)
        return result._replace(memory={**result.memory, "carry": carry, "trace": trace})

    return Estimator("decayed_trace", unroll, init, estimate)


def _learned(theta: Meta, constant: Sequence[str]) -> Meta:
    return {group: leaves for group, leaves in theta.items() if group not in constant}


def _with_constants(problem: Problem, theta: Meta, constant: Sequence[str]) -> Problem:
    """The problem as a function of the other groups."""
    fixed = {group: theta[group] for group in constant}
    return Problem(
        lambda learned, seed: problem.begin({**learned, **fixed}, seed),
        lambda learned, carry, data, k: problem.step({**learned, **fixed}, carry, data, k),
    )


def _direct(
    problem: Problem, theta: Meta, carry: Carry, data: Batch, k: Tensor
) -> tuple[Carry, Tensor, Tensor, list[Tensor]]:
    """A step, d loss / d theta [P] and d c' / d theta at a fixed carry, [P, ...] a leaf."""

    def step(meta: Meta) -> tuple[list[Tensor], Tensor]:
        following, loss = problem.step(meta, carry, data, k)
        return floats(following), loss

    following, loss = problem.step(theta, carry, data, k)
    _, (added, direct) = _along(step, theta)
    return following, loss, direct, added


def _through(problem: Problem, theta: Meta, carry: Carry, data: Batch, k: Tensor, trace: list[Tensor]) -> Tensor:
    """d loss / d c z, [P]: one gradient, times each of the trace's directions."""

    def loss(leaves: list[Tensor]) -> Tensor:
        return problem.step(theta, with_floats(carry, leaves), data, k)[1]

    slopes = torch.func.grad(loss)(floats(carry))
    products = [(slope * z).reshape(len(z), -1).sum(1) for slope, z in zip(slopes, trace, strict=True)]
    return torch.stack(products).sum(0)


def _along(function: Callable[[Meta], Any], theta: Meta) -> tuple[Any, Any]:
    """A function's value at theta, and its derivatives along each number of theta, [P, ...] a leaf."""
    vector = flatten(theta)

    def derivative(direction: Tensor) -> tuple[Any, Any]:
        value, slope = torch.func.jvp(function, (theta,), (unflatten(direction, theta),))[:2]
        # Mapped, a derivative of a scalar is float64 where a plain number multiplies it.
        return value, map_tree(lambda one, two: two.to(one.dtype), value, slope)

    directions = torch.eye(len(vector), dtype=vector.dtype, device=vector.device)
    return torch.func.vmap(derivative)(directions)  # type: ignore[no-any-return]
