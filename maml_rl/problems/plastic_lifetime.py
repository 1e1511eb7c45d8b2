"""A lifetime of a network that learns by a rule of its synapses, for estimators of meta-gradients and for curves."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.estimators import Carry, Problem
from maml_rl.core.rules.synaptic import synaptic
from maml_rl.core.traced import traced
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Batch, InnerState, Meta
from maml_rl.problems.lessons import Lessons, coded_patterns
from maml_rl.problems.plastic_network import PlasticNetwork

__all__ = ["Curves", "curves_of", "plastic_lifetime", "responses_wrong"]


class Curves(NamedTuple):
    """What N lifetimes of T presentations came to.

    Attributes:
        losses: over the counted patterns, before the first presentation and behind each, [N, T + 1].
        errors: share of the counted patterns with a response on the wrong side, [N, T + 1]; those that are not finite
            are wrong.
    """

    losses: Tensor
    errors: Tensor


def plastic_lifetime(network: PlasticNetwork, dtype: torch.dtype, logarithmic: bool = False) -> Problem:
    """Step k shows one pattern and moves the weights by the rule; its meta-loss is w_k times the mean loss over the
    counted patterns behind the step. The seed draws the initial weights, which is all the chance there is.

    Data of a step are `Lessons` without their leading dimensions, and w_k.

    Args:
        network: what lives.
        dtype: of all numbers.
        logarithmic: whether log(1 + loss) counts in the loss's place.
    """
    rule, loss = synaptic(), network.loss()
    coded = coded_patterns(network.inputs, network.kind, dtype)

    def begin(theta: Meta, seed: Tensor) -> Carry:
        return {"params": network.initial(seed, dtype), "backward": network.feedback_weights(seed, dtype)}

    def step(theta: Meta, carry: Carry, data: Batch, k: Tensor) -> tuple[Carry, Tensor]:
        lesson, weight = data
        state, at = InnerState(carry["params"]), 0
        shown = (lesson.pattern, lesson.target, carry["backward"])
        signal, _ = rule.observe(loss, state, shown, theta, at)
        moved = rule.move(signal, state, theta, at).params
        total = network.output_input(moved, coded.to(lesson.pattern))
        missed = (lesson.counted * network.kind.loss(total, lesson.wanted)).sum()
        return {**carry, "params": moved}, weight * (torch.log1p(missed) if logarithmic else missed)

    return Problem(begin, step)


def responses_wrong(network: PlasticNetwork, total: Tensor, wanted: Tensor) -> Tensor:
    """Which responses are on the wrong side of the middle between no and yes, or not finite.

    Args:
        network: whose responses they are.
        total: inputs of the output unit.
        wanted: the right responses.
    """
    kind = network.kind
    middle = (1 + kind.low) / 2
    response = kind.activation(total)
    return ((response > middle) != (wanted > middle)) | ~total.isfinite()


def curves_of(
    network: PlasticNetwork, dtype: torch.dtype, replayed: bool = True
) -> Callable[[Meta, Tensor, Lessons], Curves]:
    """``curves(theta, seeds, lessons)``: N whole lifetimes, without derivatives; theta is [N, ...] a leaf.

    Args:
        network: what lives.
        dtype: of all numbers.
        replayed: whether the operations of a step are recorded once (see `maml_rl.core.traced`).
    """
    problem = plastic_lifetime(network, dtype)
    coded = coded_patterns(network.inputs, network.kind, dtype)

    def measured(carry: Carry, wanted: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        total = network.output_input(carry["params"], coded.to(wanted))
        loss = (counted * network.kind.loss(total, wanted)).sum()
        return loss, (counted * responses_wrong(network, total, wanted)).sum()

    def one(theta: Meta, carry: Carry, lesson: Any, k: Tensor) -> tuple[Carry, Tensor, Tensor]:
        following, loss = problem.step(theta, carry, (lesson, torch.ones_like(lesson.target)), k)
        return following, loss, measured(following, lesson.wanted, lesson.counted)[1]

    mapped = torch.func.vmap(one)
    step = traced(mapped) if replayed else mapped

    @torch.no_grad()
    def curves(theta: Meta, seeds: Tensor, lessons: Lessons) -> Curves:
        carry = torch.func.vmap(problem.begin)(theta, seeds)
        first = torch.func.vmap(measured)(carry, lessons.wanted[:, 0], lessons.counted[:, 0])
        losses, errors = [first[0]], [first[1]]
        for k in range(lessons.target.shape[1]):
            lesson = map_tree(lambda leaf: leaf[:, k], lessons)  # noqa: B023
            carry, loss, error = step(theta, carry, lesson, torch.zeros_like(seeds))
            losses.append(loss)
            errors.append(error)
        return Curves(torch.stack(losses, 1), torch.stack(errors, 1))

    return curves
