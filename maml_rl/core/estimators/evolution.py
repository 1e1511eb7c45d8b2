"""Meta-gradients without derivatives: evolution strategies on unrolls, and persistent ones (Vicol et al., 2021)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

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
from maml_rl.core.estimators.stepwise import single_step, step_of
from maml_rl.core.tree import expand, map_tree, select
from maml_rl.core.types import Batch, Memory, Meta

__all__ = ["evolution_strategies", "persistent_evolution_strategies"]


def evolution_strategies(problem: Problem, lifetimes: Lifetimes, unroll: int, sigma: float) -> Estimator:
    """g = (1/N) sum_n e_n (L_n(theta + e_n) - L_n(theta - e_n)) / (2 sigma^2), e_n ~ Normal(0, sigma^2 I).

    L_n is the mean loss of the next L steps of lifetime n, from a carry that goes on under theta itself. Both sides of
    a pair have the seed and the data in common. The mean of g is the gradient of E_e[L(theta + e)], and of L itself
    where L is quadratic. It needs no derivative and no graph, and like `truncated_unroll` it sees L steps ahead
    (Salimans et al., 2017; Vicol et al., 2021, algorithm 1). Unlike Vicol et al., whose particles share one inner
    problem, each pair has its own.

    Args:
        problem: what is lived; it need not be differentiable.
        lifetimes: how many, and for how long.
        unroll: L, the steps of one estimate.
        sigma: standard deviation of the perturbations, in units of the meta-parameters.

    Raises:
        ValueError: `unroll` or `sigma` is not positive.
    """
    require_positive(unroll=unroll, sigma=sigma)
    lived = _lived(problem, lifetimes, unroll, own_carry=False)

    @torch.no_grad()
    def estimate(theta: Meta, memory: Memory, data: Batch, generator: torch.Generator) -> Estimate:
        segment = next_segment(lifetimes, memory, data, unroll)
        own = _own(lifetimes, theta)
        noise = _noise(own, sigma, generator)
        trials = map_tree(lambda leaf, e: torch.stack([leaf + e, leaf - e, leaf], 1), own, noise)
        carries, losses = lived(trials, segment)
        slopes = _slopes(noise, losses, sigma)
        carry = map_tree(lambda leaf: leaf[:, 2], carries)
        return concluded(lifetimes, memory, segment, Outcome(slopes, carry, losses, losses[:, 2]), generator)

    return Estimator(
        "evolution_strategies",
        unroll,
        lambda theta, generator: starting(problem, lifetimes, theta, generator),
        estimate,
    )


def persistent_evolution_strategies(problem: Problem, lifetimes: Lifetimes, unroll: int, sigma: float) -> Estimator:
    """g = (1/N) sum_n x_n (L_n+ - L_n-) / (2 sigma^2), where x_n is the sum of the lifetime's perturbations so far.

    Each lifetime is lived twice, under theta + e_n and theta - e_n, with a new e_n ~ Normal(0, sigma^2 I) in each
    unroll and a carry for each side that goes on from unroll to unroll. L_n+ and L_n- are the mean losses of the next
    L steps. Since x_n holds what was done to theta at every earlier unroll, the mean of g over a lifetime is, for a
    theta that stands still, the gradient of the whole lifetime's smoothed loss: no bias by truncation. The price is
    variance that grows with the number of unrolls in a lifetime (Vicol et al., 2021, algorithm 2).

    The average over a lifetime's unrolls is (1/T) d/dtheta sum_k loss_k where L divides T; in general the last unroll
    counts by the steps that it has.

    Args:
        problem: what is lived; it need not be differentiable.
        lifetimes: how many, and for how long.
        unroll: L, the steps of one estimate.
        sigma: standard deviation of the perturbations, in units of the meta-parameters.

    Raises:
        ValueError: `unroll` or `sigma` is not positive.
    """
    require_positive(unroll=unroll, sigma=sigma)
    lived = _lived(problem, lifetimes, unroll, own_carry=True)

    def init(theta: Meta, generator: torch.Generator) -> dict[str, Any]:
        memory = starting(problem, lifetimes, theta, generator)
        sides = map_tree(lambda leaf: torch.stack([leaf, leaf], 1), memory["carry"])
        return {**memory, "carry": sides, "perturbation": map_tree(torch.zeros_like, _own(lifetimes, theta))}

    @torch.no_grad()
    def estimate(theta: Meta, memory: Memory, data: Batch, generator: torch.Generator) -> Estimate:
        segment = next_segment(lifetimes, memory, data, unroll)
        own = _own(lifetimes, theta)
        noise = _noise(own, sigma, generator)
        before = select(segment.step == 0, map_tree(torch.zeros_like, own), memory["perturbation"])
        perturbation = map_tree(torch.add, before, noise)
        trials = map_tree(lambda leaf, e: torch.stack([leaf + e, leaf - e], 1), own, noise)
        carry, losses = lived(trials, segment)
        outcome = Outcome(_slopes(perturbation, losses, sigma), carry, losses, losses.mean(1))
        result = concluded(lifetimes, memory, segment, outcome, generator)
        return result._replace(memory={**result.memory, "perturbation": perturbation})

    return Estimator("persistent_evolution_strategies", unroll, init, estimate)


def _lived(
    problem: Problem, lifetimes: Lifetimes, unroll: int, own_carry: bool
) -> Callable[[Meta, Segment], tuple[Carry, Tensor]]:
    """``lived(trials, segment)``: N segments under the S values of theta in `trials`, [N, S, ...] a leaf. Its result
    are the carries [N, S, ...] and the losses [N, S, L]."""
    if lifetimes.stepwise:
        return _lived_by_steps(problem, lifetimes, unroll, own_carry)

    def trial(theta: Meta, one: Segment) -> tuple[Carry, Tensor]:
        carry, losses = advance(problem, theta, entered(problem, theta, one), one, range(unroll))
        return carry, torch.stack(losses)

    shared = Segment(0 if own_carry else None, *[None] * 4)  # type: ignore[arg-type]
    return replace(lifetimes, apart=True).mapped(torch.func.vmap(trial, (0, shared)))


def _lived_by_steps(
    problem: Problem, lifetimes: Lifetimes, unroll: int, own_carry: bool
) -> Callable[[Meta, Segment], tuple[Carry, Tensor]]:
    """The same, one mapped step after the other."""
    shared = Segment(0 if own_carry else None, *[None] * 4)  # type: ignore[arg-type]
    apart = replace(lifetimes, apart=True)
    enter = apart.uncompiled().mapped(torch.func.vmap(partial(entered, problem), (0, shared)))
    step = apart.mapped(torch.func.vmap(single_step(problem), (0, 0, None)))

    def lived(trials: Meta, segment: Segment) -> tuple[Carry, Tensor]:
        carry, losses = enter(trials, segment._replace(data=())), []
        for index in range(unroll):
            carry, loss = step(trials, carry, step_of(segment, index)._replace(carry=()))
            losses.append(loss)
        return carry, torch.stack(losses, 2)

    return lived


def _slopes(directions: Meta, losses: Tensor, sigma: float) -> Meta:
    """x_n (L_n+ - L_n-) / (2 sigma^2), [N, ...] a leaf, from losses [N, S, L] whose first two sides are the pair's."""
    difference = (losses[:, 0] - losses[:, 1]).mean(1) / (2 * sigma**2)
    return map_tree(lambda leaf: difference.reshape(-1, *[1] * (leaf.dim() - 1)) * leaf, directions)


def _noise(own: Meta, sigma: float, generator: torch.Generator) -> Meta:
    draw = partial(torch.randn, generator=generator, device=generator.device)
    return map_tree(lambda leaf: sigma * draw(leaf.shape, dtype=leaf.dtype).to(leaf.device), own)


def _own(lifetimes: Lifetimes, theta: Meta) -> Meta:
    """Theta for each lifetime, [N, ...] a leaf."""
    return theta if lifetimes.apart else expand(theta, lifetimes.count)
