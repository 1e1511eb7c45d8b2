"""What an estimator of meta-gradients is asked about: a problem, lived through in lifetimes of many steps."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from maml_rl.core.traced import traced
from maml_rl.core.types import Batch, Memory, Meta

__all__ = ["Carry", "Estimate", "Estimator", "Lifetimes", "Problem", "weighed"]

Carry: TypeAlias = Any
"""What goes on from one step of a lifetime to the next: any nesting of tuples and dictionaries of tensors."""


class Problem(NamedTuple):
    """One lifetime of a learner, as two pure functions; `torch.func.vmap` maps them over lifetimes.

    Its objective is the mean over a lifetime's T steps, (1/T) sum_k loss_k, in expectation over seeds and data.

    Attributes:
        begin: ``begin(theta, seed)`` is the carry before step 0. `seed` is an int64 scalar tensor;
            `maml_rl.core.estimators.seeded_normal` makes noise of it.
        step: ``step(theta, carry, data, k)`` is the next carry, with the structure, shapes and dtypes of the one
            before, and the step's meta-loss, a scalar. `k` counts a lifetime's steps from 0, an int64 scalar tensor.
    """

    begin: Callable[[Meta, Tensor], Carry]
    step: Callable[[Meta, Carry, Batch, Tensor], tuple[Carry, Tensor]]


def weighed(problem: Problem) -> Problem:
    """The problem with each step's meta-loss times a weight that its data bring along: they are (data, weight)."""

    def step(theta: Meta, carry: Carry, data: Batch, k: Tensor) -> tuple[Carry, Tensor]:
        own, weight = data
        following, loss = problem.step(theta, carry, own, k)
        return following, weight * loss

    return Problem(problem.begin, step)


@dataclass(frozen=True)
class Lifetimes:
    """Which lifetimes are lived side by side. Each one that ends is followed by a new one with a seed of its own.

    Attributes:
        count: how many at once, N.
        length: steps of a lifetime, T, or ``length(count, generator)``, whole numbers [N] of at least 1, drawn for
            each lifetime anew. It need not be a multiple of the unroll. `sys.maxsize` is a lifetime without an end.
        staggered: whether the first N lifetimes end one after the other, after T/N, 2T/N, ..., T steps, so that later
            meta-gradients see all parts of a lifetime at once. Those without an end cannot.
        loss_limit: a lifetime with a loss beyond it, above or below zero, counts as diverged.
        apart: whether each lifetime has meta-parameters of its own, [N, ...] a leaf. Then the gradient is [N, ...] too,
            each lifetime's own, and they are seeds or settings side by side, not samples of one mean.
        traced: whether the operations of an estimate are recorded once and then replayed (see `maml_rl.core.traced`):
            the same numbers, sooner where tensors are small and estimates many.
        compiled: whether what is recorded is compiled too, which takes a C++ compiler.
        stepwise: whether an unroll is lived step by step, and differentiated so from its end, which all but
            `decayed_trace` can. Then one step is recorded and compiled instead of the whole unroll, and of a step
            nothing is kept but the carry before it; to be differentiated it is taken twice. Sums may round otherwise.

    Raises:
        ValueError: a number that is not positive.
    """

    count: int
    length: int | Callable[[int, torch.Generator], Tensor]
    staggered: bool = True
    loss_limit: float = float("inf")
    apart: bool = False
    traced: bool = False
    compiled: bool = False
    stepwise: bool = False

    def __post_init__(self) -> None:
        for name in ("count", "length", "loss_limit"):
            value = getattr(self, name)
            if not callable(value) and not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")

    @property
    def endless(self) -> bool:
        """Whether no lifetime ever ends, but for one that diverges."""
        return self.length == sys.maxsize

    def uncompiled(self) -> "Lifetimes":
        """The same, for functions that are called too seldom to be worth compiling."""
        return replace(self, compiled=False)

    def mapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function(theta, of_lifetime, ...)`` for all lifetimes: theta, and then trees [N, ...]."""

        def batched(theta: Meta, *others: Any) -> Any:
            return torch.func.vmap(function, (0 if self.apart else None, *[0] * len(others)))(theta, *others)

        return traced(batched, self.compiled) if self.traced or self.compiled else batched


class Estimate(NamedTuple):
    """A meta-gradient and what goes on to the next one.

    Attributes:
        gradient: of the meta-parameters; zero where every lifetime diverged. Where lifetimes are `apart`, each one's
            own, [N, ...] a leaf.
        memory: the estimator's new memory.
        metrics: ``meta_loss``, the mean of `losses` over the lifetimes that did not diverge; ``diverged`` and
            ``finished``, how many lifetimes did so or reached their end.
        losses: each lifetime's mean loss over the steps it lived in this unroll, [N]; nan where it diverged.
    """

    gradient: Meta
    memory: Memory
    metrics: dict[str, float]
    losses: Tensor


class Estimator(NamedTuple):
    """How a problem becomes a meta-gradient.

    A lifetime with a loss, a carry or a gradient that is not finite, or a loss beyond the limit, has diverged. It has
    no part in the gradient, which is the mean over the others, and it starts anew; nothing changes for the others.

    An estimator feeds a meta-optimiser by ``problem = lambda meta: (estimate.gradient, estimate)``, where ``estimate =
    estimator.estimate(meta, memory, data, generator)``.

    Attributes:
        name: how messages call it.
        steps: of data that one estimate takes.
        init: ``init(theta, generator)`` is the memory before the first estimate. It is a dictionary of trees of
            tensors; stored and loaded, it goes on in the middle of a lifetime as if nothing had happened.
        estimate: ``estimate(theta, memory, data, generator)`` is the `Estimate` from the next steps of N lifetimes.
            `data` is a tree of tensors [N, steps, ...], ``()`` for none. The generator gives seeds of new lifetimes
            and perturbations, as many numbers whoever begins anew; nothing else is random. It raises `ValueError`
            where the data have other leading dimensions.
    """

    name: str
    steps: int
    init: Callable[[Meta, torch.Generator], Memory]
    estimate: Callable[[Meta, Memory, Batch, torch.Generator], Estimate]
