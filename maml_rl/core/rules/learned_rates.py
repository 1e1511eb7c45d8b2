"""Gradient descent with a learned rate for each parameter tensor and inner step (Antoniou et al., 2018, section 4)."""

from typing import Any

import torch
from torch import Tensor

from maml_rl.core.rules.sgd import Schedule, gradient
from maml_rl.core.types import InnerState, Params, Rule

__all__ = ["initial_rates", "learned_rates"]


def initial_rates(params: Params, schedule: Schedule, steps: int) -> Params:
    """A rate for each tensor and step, [K], that starts as the schedule says.

    Raises:
        ValueError: there is no step to have a rate.
    """
    if steps < 1:
        raise ValueError("learned rates belong to inner steps; at least one is needed, got 0.")
    values = [schedule(step) for step in range(steps)]
    return {name: torch.tensor(values, dtype=leaf.dtype, device=leaf.device) for name, leaf in params.items()}


def learned_rates() -> Rule:
    """phi_{k+1}[l] = phi_k[l] - a[l, k] grad_l loss(phi_k, batch_k), with a = `meta`, one tensor [K] for each l.

    The rates are free in sign. Steps beyond the last one learned go on with its rates.
    """

    def move(signal: Params, state: InnerState, meta: Any, step: int) -> InnerState:
        rates: dict[str, Tensor] = meta
        return InnerState(
            {
                name: leaf - rates[name][min(step, len(rates[name]) - 1)] * signal[name]
                for name, leaf in state.params.items()
            }
        )

    return Rule("learned_rates", lambda params, meta: None, gradient, move)
