"""The words of bilevel optimisation: what a loss, an inner update rule and a point of an adaptation path are.

Symbols used in every docstring of the project:

====  =======================================================
N     tasks in a meta-batch
E     episodes (or examples) per task and inner step
T     time steps of an episode (the horizon)
S     samples of one task and inner step, S = E * T
K     inner steps; an adaptation path has K + 1 points
P     number of scalars in the meta-parameters
O, A  size of an observation, of an action
====  =======================================================
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

__all__ = ["Batch", "InnerState", "Loss", "Memory", "Meta", "Params", "Rule", "Step", "Walk"]

Params: TypeAlias = dict[str, Tensor]
"""Parameters of a learner by name. Leaves have an extra leading dimension N where each task has its own."""

Meta: TypeAlias = dict[str, Params]
"""Meta-parameters in named groups, such as ``{"policy": ..., "rates": ...}``: what is learned across tasks."""

Batch: TypeAlias = Any
"""Data of one inner step of one task: any nesting of tuples and dictionaries of tensors."""

Memory: TypeAlias = Any
"""What goes on from one step to the next: any nesting of tuples and dictionaries of tensors, ``()`` for nothing."""

Loss: TypeAlias = Callable[[Params, Batch, Meta, int], tuple[Tensor, Any]]
"""``loss(params, batch, meta, step)`` is a scalar, and whatever else was computed on the way (a tree of tensors, ``()``
for nothing). ``step`` counts inner steps from 0. A loss reads meta-parameters from ``meta`` and never by closure, so
that each differentiation mode knows of them."""


class InnerState(NamedTuple):
    """One point of an adaptation path.

    Attributes:
        params: the learner's parameters.
        memory: what its update rule remembers.
        aux: what the loss computed besides its value in the step that led here; ``()`` at the start.
    """

    params: Params
    memory: Memory = ()
    aux: Any = ()


class Rule(NamedTuple):
    """How a learner moves on one task, as three pure functions.

    Attributes:
        name: how messages call the rule.
        start: ``start(params, meta)`` is the memory before the first step.
        observe: ``observe(loss, state, batch, meta, step)`` is the signal the rule acts on, usually the gradient, and
            the loss's further results.
        move: ``move(signal, state, meta, step)`` is the next state.
    """

    name: str
    start: Callable[[Params, Meta], Memory]
    observe: Callable[[Loss, InnerState, Batch, Meta, int], tuple[Any, Any]]
    move: Callable[[Any, InnerState, Meta, int], InnerState]


class Step(NamedTuple):
    """A rule with its loss filled in: what a differentiation mode receives."""

    observe: Callable[[InnerState, Batch, Meta, int], tuple[Any, Any]]
    move: Callable[[Any, InnerState, Meta, int], InnerState]


Walk: TypeAlias = Callable[[Step, InnerState, Sequence[Batch], Meta, int], list[InnerState]]
"""``walk(step, start, batches, meta, first_step)`` is the adaptation path."""
