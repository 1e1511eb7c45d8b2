"""Gradient descent with a step schedule (Finn et al., 2017, equation 1 and appendix A.2)."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

from maml_rl.core.types import Batch, InnerState, Loss, Params, Rule

__all__ = ["Schedule", "constant", "gradient", "halved_after_first", "listed", "sgd"]

Schedule: TypeAlias = Callable[[int], float]
"""``schedule(step)`` is the learning rate of inner step ``step``, counted from 0."""


def constant(rate: float) -> Schedule:
    """The same rate at every step."""
    return listed([rate])


def halved_after_first(rate: float) -> Schedule:
    """`rate` at the first step, half of it afterwards (Finn et al., 2017, appendix A.2: 0.1, then 0.05)."""
    return listed([rate, rate / 2])


def listed(rates: Sequence[float]) -> Schedule:
    """The k-th rate at step k; the last one goes on for ever.

    Raises:
        ValueError: no rate is given, or one is negative or not finite.
    """
    values = [float(rate) for rate in rates]
    if not values or not all(0 <= rate < float("inf") for rate in values):
        raise ValueError(f"learning rates must be one or more finite numbers of at least 0, got {list(rates)}.")
    return lambda step: values[min(step, len(values) - 1)]


def gradient(loss: Loss, params: Params, batch: Batch, step: int) -> Params:
    """grad_phi loss(phi, batch): the signal of every gradient rule."""
    return torch.func.grad(loss)(params, batch, step)  # type: ignore[no-any-return]


def sgd(schedule: Schedule) -> Rule:
    """phi_{k+1} = phi_k - a_k grad loss(phi_k, batch_k), a_k = schedule(k)."""

    def move(signal: Params, state: InnerState, meta: Any, step: int) -> InnerState:
        rate = schedule(step)
        return InnerState({name: leaf - rate * signal[name] for name, leaf in state.params.items()})

    return Rule("sgd", lambda params, meta: None, gradient, move)
