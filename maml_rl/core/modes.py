"""How the meta-gradient passes through adaptation (Finn et al., 2017, section 5.2 for the first-order form)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from maml_rl.core.objectives import Objective
from maml_rl.core.tree import detach
from maml_rl.core.types import Batch, InnerState, Meta, Rule, Step, Walk

__all__ = ["Mode", "annealed_order", "constant_signal", "first_order", "require_compatible", "unrolled", "walk_with"]


class Mode(NamedTuple):
    """A differentiation mode.

    Attributes:
        name: how messages call it.
        walk: how it walks the adaptation path with a step function.
        rule: the name of the one inner rule that it holds for; any where it is None.
        objective: the name of the one meta-objective that it holds for; any where it is None.
        signal_in_meta: whether the signal is a function of the meta-parameters that the inner loss reads. Where it is
            not, those that nothing else reads would learn nothing.
    """

    name: str
    walk: Walk
    rule: str | None = None
    objective: str | None = None
    signal_in_meta: bool = True


def unrolled() -> Mode:
    """Differentiates through every inner step: d phi_{k+1} / d phi_k = I - a_k H_k for gradient descent."""
    return Mode("unrolled", lambda *args: walk_with(lambda observe, *at: observe(*at), *args))


def first_order(signal_in_meta: bool = False) -> Mode:
    """Takes each step's signal for a constant: d phi_{k+1} / d phi_k = I for gradient descent.

    What the rule itself reads of the meta-parameters, such as learned rates, has its derivative in any case.

    Args:
        signal_in_meta: takes the signal for a constant in the learner's state only, so that meta-parameters of the
            inner loss (a discount, the coefficients of a penalty) have each step's derivative, and none through the
            steps after it. It costs a mixed second derivative.
    """
    signal = signal_at_constant_state if signal_in_meta else constant_signal
    return Mode("first_order", lambda *args: walk_with(signal, *args), signal_in_meta=signal_in_meta)


def annealed_order(iteration: int, first_order_iterations: int) -> Mode:
    """First order in the first `first_order_iterations`, unrolled afterwards (Antoniou et al., 2018, section 4).

    Args:
        iteration: counted from 0.
        first_order_iterations: how many.
    """
    return first_order() if iteration < first_order_iterations else unrolled()


def require_compatible(
    mode: Mode, rule: Rule, objective: Objective | None = None, loss_groups: Sequence[str] = ()
) -> None:
    """Raises `ValueError`, naming both, where the mode's derivative does not hold for what it is to go with.

    Args:
        mode: the differentiation mode.
        rule: the inner update rule.
        objective: the meta-objective, if it is known.
        loss_groups: groups of meta-parameters that only the inner loss reads.
    """
    if mode.rule not in (None, rule.name):
        raise ValueError(f"mode {mode.name!r} holds for the rule {mode.rule!r} only, got {rule.name!r}.")
    if objective is not None and mode.objective not in (None, objective.name):
        raise ValueError(
            f"mode {mode.name!r} differentiates the end of adaptation only, so it goes with the objective "
            f"{mode.objective!r}, got {objective.name!r}."
        )
    if loss_groups and not mode.signal_in_meta:
        raise ValueError(
            f"mode {mode.name!r} takes the inner gradient for a constant, so {', '.join(loss_groups)} would learn "
            "nothing: choose 'unrolled', or first_order(signal_in_meta=True)."
        )


def constant_signal(observe: Callable[..., Any], *at: Any) -> Any:
    """What `observe` sees, without a graph of how it came about, neither backward nor forward."""
    with torch.no_grad():
        return detach(observe(*at))


def signal_at_constant_state(observe: Callable[..., Any], state: InnerState, *at: Any) -> Any:
    """What `observe` sees, as a function of the meta-parameters alone."""
    return observe(InnerState(*detach(tuple(state))), *at)


def walk_with(
    signal_of: Callable[..., Any],
    step: Step,
    state: InnerState,
    batches: Sequence[Batch],
    meta: Meta,
    first_step: int,
) -> list[InnerState]:
    """The path of a rule that acts on ``signal_of(observe, state, batch, meta, index)``."""
    path = [state]
    for index, batch in enumerate(batches, first_step):
        signal, aux = signal_of(step.observe, state, batch, meta, index)
        state = step.move(signal, state, meta, index)._replace(aux=aux)
        path.append(state)
    return path
