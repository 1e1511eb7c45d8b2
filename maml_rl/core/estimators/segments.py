"""Segments of lifetimes, what all estimators share: walking one, and what goes on after it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree

from maml_rl.core.estimators.problem import Carry, Estimate, Lifetimes, Problem
from maml_rl.core.tree import map_tree, select
from maml_rl.core.types import Batch, Memory, Meta

__all__ = [
    "Outcome",
    "Segment",
    "advance",
    "concluded",
    "entered",
    "next_segment",
    "present",
    "require_positive",
    "starting",
    "while_it_lives",
]

Tree = TypeVar("Tree")


class Segment(NamedTuple):
    """The next steps of one lifetime, or of N under `torch.func.vmap`.

    Attributes:
        carry: before them.
        step: how many steps have been taken; with 0 the lifetime is yet to begin, whatever the carry.
        end: the number of steps at which it ends; ``()`` where none ever does.
        seed: to begin with, if it is to begin.
        data: of these steps, [steps, ...].
    """

    carry: Carry
    step: Tensor
    end: Tensor | tuple[()]
    seed: Tensor
    data: Batch


class Outcome(NamedTuple):
    """What an estimator found out on N segments.

    Attributes:
        slopes: each lifetime's own estimate of the meta-gradient, [N, ...] a leaf.
        carry: after the segments, [N, ...] a leaf.
        losses: of all steps that were tried, [N, ..., steps]; 0 after a lifetime's end.
        reported: those to be told of, [N, steps].
    """

    slopes: Meta
    carry: Carry
    losses: Tensor
    reported: Tensor


def require_positive(**numbers: float) -> None:
    """Raises `ValueError`, naming the number, unless all of them are positive and finite."""
    for name, value in numbers.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"`{name}` must be positive and finite, got {value}.")


def starting(problem: Problem, lifetimes: Lifetimes, theta: Meta, generator: torch.Generator) -> dict[str, Any]:
    """The memory of N lifetimes that are yet to begin: the first estimate begins them, under its own theta."""
    device, count = _device(theta), lifetimes.count
    seed = _seeds(count, generator, device)
    with torch.no_grad():
        carry = replace(lifetimes, traced=False, compiled=False).mapped(problem.begin)(theta, seed)
    end = _lengths(lifetimes, generator, device)
    if lifetimes.staggered and not lifetimes.endless:
        rank = torch.arange(1, count + 1, device=device)
        end = (end.double() * rank / count).ceil().long()
    return {"carry": carry, "step": torch.zeros_like(end), "end": end, "seed": seed}


def present(problem: Problem, lifetimes: Lifetimes) -> Callable[[Meta, Memory], Carry]:
    """``present(theta, memory)`` is where N lifetimes are, [N, ...] a leaf: the carry before their next step.

    Who collects the data of the next steps by the learners themselves starts from here.
    """
    whole = lifetimes.uncompiled().mapped(partial(entered, problem))

    def carries(theta: Meta, memory: Memory) -> Carry:
        with torch.no_grad():
            return whole(theta, Segment(memory["carry"], memory["step"], (), memory["seed"], ()))

    return carries


def next_segment(lifetimes: Lifetimes, memory: Memory, data: Batch, steps: int) -> Segment:
    """The next `steps` steps of the N lifetimes in `memory`.

    Raises:
        ValueError: data that are not [N, steps, ...].
    """
    expected = (len(memory["step"]), steps)
    for leaf in _pytree.tree_leaves(data):
        if tuple(leaf.shape[:2]) != expected:
            raise ValueError(f"`data` must be [N, steps, ...] = {expected} at the front, got {tuple(leaf.shape)}.")
    end = () if lifetimes.endless else memory["end"]
    return Segment(memory["carry"], memory["step"], end, memory["seed"], data)


def entered(problem: Problem, theta: Meta, segment: Segment) -> Carry:
    """The carry at a segment's first step: a new one, a function of theta, where the lifetime begins there."""
    return select(segment.step == 0, problem.begin(theta, segment.seed), segment.carry)


def advance(problem: Problem, theta: Meta, carry: Carry, segment: Segment, steps: range) -> tuple[Carry, list[Tensor]]:
    """c_{k+1}, loss_k = step(theta, c_k, data_k, k) for `steps` of a segment: the last carry, and every loss.

    After a lifetime's end its carry stays as it is, and its losses are 0.
    """
    losses = []
    for index in steps:
        k = segment.step + index
        following, loss = problem.step(theta, carry, map_tree(lambda leaf: leaf[index], segment.data), k)  # noqa: B023
        carry = while_it_lives(segment, k, following, carry)
        losses.append(while_it_lives(segment, k, loss, torch.zeros_like(loss)))
    return carry, losses


def while_it_lives(segment: Segment, k: Tensor, following: Tree, otherwise: Tree) -> Tree:
    """`following` at a step k before the lifetime's end, `otherwise` behind it."""
    return select(k < segment.end, following, otherwise) if isinstance(segment.end, Tensor) else following


def concluded(
    lifetimes: Lifetimes, memory: Memory, segment: Segment, outcome: Outcome, generator: torch.Generator
) -> Estimate:
    """The mean over the lifetimes that did not diverge, and the memory in which those that are over begin anew.

    Where lifetimes are apart there is no mean: one that diverged has zero for its gradient.
    """
    count, steps = outcome.reported.shape
    end = memory["end"]
    step = (segment.step + steps).minimum(end)
    bounded = outcome.losses.abs() <= lifetimes.loss_limit
    healthy = _finite((outcome.slopes, outcome.carry, outcome.losses), count) & bounded.flatten(1).all(1)
    contributions = select(healthy, outcome.slopes, map_tree(torch.zeros_like, outcome.slopes))
    remaining = int(healthy.sum())
    gradient = map_tree(lambda leaf: leaf if lifetimes.apart else leaf.sum(0) / max(remaining, 1), contributions)

    losses = outcome.reported.sum(1) / (step - segment.step)
    finished, length = step >= end, _lengths(lifetimes, generator, step.device)
    over = finished | ~healthy
    following = {
        "carry": outcome.carry,
        "step": torch.where(over, torch.zeros_like(step), step),
        "end": torch.where(over, length, end),
        "seed": _seeds(count, generator, step.device),
    }
    metrics = {
        "meta_loss": float(losses[healthy].mean()),
        "diverged": float(count - remaining),
        "finished": float((finished & healthy).sum()),
    }
    return Estimate(gradient, following, metrics, torch.where(healthy, losses, torch.full_like(losses, torch.nan)))


def _finite(tree: Any, count: int) -> Tensor:
    """Which of N entries along the leading dimension are finite in every leaf, [N]."""
    leaves = [leaf.isfinite().reshape(count, leaf[0].numel()).all(1) for leaf in _pytree.tree_leaves(tree)]
    return torch.stack(leaves).all(0)


def _lengths(lifetimes: Lifetimes, generator: torch.Generator, device: torch.device) -> Tensor:
    if isinstance(lifetimes.length, int):
        return torch.full((lifetimes.count,), lifetimes.length, device=device)
    return lifetimes.length(lifetimes.count, generator).to(device, torch.int64).clamp(min=1)


def _seeds(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randint(2**62, (count,), generator=generator, device=generator.device).to(device)


def _device(theta: Meta) -> torch.device:
    leaf: Tensor = _pytree.tree_leaves(theta)[0]
    return leaf.device
