"""How the meta-gradient passes through adaptation (Finn et al., 2017, section 5.2 for the first-order form)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from maml_rl.core.tree import detach
from maml_rl.core.types import Batch, InnerState, Step, Walk

__all__ = ["Mode", "first_order", "unrolled"]


class Mode(NamedTuple):
    """A differentiation mode: its name, and how it walks the adaptation path with a step function."""

    name: str
    walk: Walk


def unrolled() -> Mode:
    """Differentiates through every inner step: d phi_{k+1} / d phi_k = I - a_k H_k for gradient descent."""
    return Mode("unrolled", lambda *args: _walk(lambda state: state, *args))


def first_order() -> Mode:
    """Takes each step's signal as a constant: d phi_{k+1} / d phi_k = I for gradient descent."""
    return Mode("first_order", lambda *args: _walk(detach, *args))


def _walk(
    seen_as: Callable[[InnerState], InnerState],
    step: Step,
    state: InnerState,
    batches: Sequence[Batch],
    first_step: int,
) -> list[InnerState]:
    path = [state]
    for index, batch in enumerate(batches, first_step):
        state = step.move(step.observe(seen_as(state), batch, index), state, index)
        path.append(state)
    return path
