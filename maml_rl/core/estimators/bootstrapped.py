"""Bootstrapped meta-gradients: towards where the learner would get further on (Flennerhag et al., 2021)."""

from collections.abc import Callable
from typing import TypeAlias

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
    while_it_lives,
)
from maml_rl.core.estimators.stepwise import Steps, step_of
from maml_rl.core.tree import floats, map_tree, with_floats
from maml_rl.core.types import Batch, Memory, Meta

__all__ = ["Descend", "Match", "bootstrapped"]

Descend: TypeAlias = Callable[[Meta, Carry, Batch, Tensor], Carry]
"""``descend(theta, carry, data, k)`` is the carry after a step by the gradient of what the problem is really about."""

Match: TypeAlias = Callable[[Carry, Carry, Batch], Tensor]
"""``match(target, reached, data)``, a scalar, is how far `reached` is from `target`: a squared distance, say, or the
divergence KL(target || reached) between what the two predict on `data`, those of the target's last step."""


def bootstrapped(
    problem: Problem, lifetimes: Lifetimes, steps: int, target_steps: int, descend: Descend, match: Match
) -> Estimator:
    """d/dtheta match(c~, c_{t+K}), with the target c~ taken for a constant (Flennerhag et al., 2021, equation 2).

    From c_t, a constant too, K steps under theta reach c_{t+K}. The target is L steps further on: L - 1 under theta,
    and the last one by `descend`. So theta learns to get in K steps to where it would get in K + L, and memory grows
    with K alone. The problem's own losses are told and not differentiated; the metrics have the
    ``matching_loss`` besides.

    The lifetime goes on from c_{t+K+L-1}, the last carry that the learner reached by itself. Past its end nothing
    moves, the target included.

    Args:
        problem: what is lived.
        lifetimes: how many, and for how long.
        steps: K.
        target_steps: L. One estimate takes data of K + L steps, and goes on by K + L - 1.
        descend: the last step to the target.
        match: the matching loss.

    Raises:
        ValueError: `steps` or `target_steps` is not positive.
    """
    require_positive(steps=steps, target_steps=target_steps)
    last = steps + target_steps - 1

    def matching_loss(theta: Meta, segment: Segment) -> tuple[Tensor, tuple[Carry, Tensor]]:
        reached, losses = advance(problem, theta, entered(problem, theta, segment), segment, range(steps))
        data = map_tree(lambda leaf: leaf[last], segment.data)
        with torch.no_grad():
            carry, further = advance(problem, theta, reached, segment, range(steps, last))
            k = segment.step + last
            target = while_it_lives(segment, k, descend(theta, carry, data, k), carry)
        return match(target, reached, data), (carry, torch.stack(losses + further))

    walked = Steps(problem, lifetimes)

    def aimed(theta: Meta, carry: Carry, segment: Segment) -> Carry:
        """The target, from the carry before its last step; `segment` is that step."""
        data, k = map_tree(lambda leaf: leaf[0], segment.data), segment.step
        return while_it_lives(segment, k, descend(theta, carry, data, k), carry)

    def distance(theta: Meta, reached: Carry, target: Carry, data: Batch) -> tuple[list[Tensor], Tensor]:
        def of(leaves: list[Tensor]) -> Tensor:
            return match(target, with_floats(reached, leaves), data)

        return torch.func.grad_and_value(of)(floats(reached))

    aim, apart = lifetimes.mapped(aimed), lifetimes.mapped(distance)

    def slope_by_steps(theta: Meta, segment: Segment) -> tuple[Meta, tuple[Tensor, tuple[Carry, Tensor]]]:
        carries, losses = walked.walk(theta, segment, last)
        final = step_of(segment, last)
        data = map_tree(lambda leaf: leaf[:, 0], final.data)
        after, distances = apart(theta, carries[steps], aim(theta, carries[-1], final), data)
        slopes = walked.back(theta, segment, carries[:steps], after, torch.zeros_like(losses[:, 0]))
        return slopes, (distances, (carries[-1], losses))

    whole = lifetimes.mapped(torch.func.grad_and_value(matching_loss, has_aux=True))
    slope = slope_by_steps if lifetimes.stepwise else whole

    @torch.no_grad()
    def estimate(theta: Meta, memory: Memory, data: Batch, generator: torch.Generator) -> Estimate:
        segment = next_segment(lifetimes, memory, data, last + 1)
        slopes, (distances, (carry, losses)) = slope(theta, segment)
        result = concluded(lifetimes, memory, segment, Outcome(slopes, carry, losses, losses), generator)
        matching = float(distances[~result.losses.isnan()].mean())
        return result._replace(metrics={**result.metrics, "matching_loss": matching})

    return Estimator(
        "bootstrapped", last + 1, lambda theta, generator: starting(problem, lifetimes, theta, generator), estimate
    )
