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

__all__ = ["Batch", "InnerState", "Loss", "Params", "Rule", "Step"]

Params: TypeAlias = dict[str, Tensor]
"""Parameters of a learner by name. Leaves have an extra leading dimension N where each task has its own."""

Batch: TypeAlias = Any
"""Data of one inner step of one task: any nesting of tuples and dictionaries of tensors."""

Loss: TypeAlias = Callable[[Params, Batch, int], Tensor]
"""``loss(params, batch, step)`` is a scalar; ``step`` counts inner steps from 0."""


class InnerState(NamedTuple):
    """One point of an adaptation path: the learner's parameters and what its update rule remembers."""

    params: Params
    memory: Any = None


class Rule(NamedTuple):
    """How a learner moves on one task, as three pure functions.

    Attributes:
        name: how messages call the rule.
        start: ``start(params, meta)`` is the memory before the first step.
        observe: ``observe(loss, params, batch, step)`` is the signal the rule acts on, usually the gradient.
        move: ``move(signal, state, meta, step)`` is the next state.
    """

    name: str
    start: Callable[[Params, Any], Any]
    observe: Callable[[Loss, Params, Batch, int], Any]
    move: Callable[[Any, InnerState, Any, int], InnerState]


class Step(NamedTuple):
    """A rule with its loss and meta-parameters filled in: what a differentiation mode receives."""

    observe: Callable[[InnerState, Batch, int], Any]
    move: Callable[[Any, InnerState, int], InnerState]


Walk: TypeAlias = Callable[[Step, InnerState, Sequence[Batch], int], list[InnerState]]
