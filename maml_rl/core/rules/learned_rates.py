"""Gradient descent with learned rates: for each parameter tensor and inner step (Antoniou et al., 2018, section 4), or
for each scalar (Meta-SGD, Li et al., 2017, equation 1).
"""

from typing import Any

import torch
from torch import Tensor

from maml_rl.core.rules.sgd import Schedule, gradient
from maml_rl.core.types import InnerState, Params, Rule

__all__ = ["RATES", "initial_rates", "learned_rates", "named_rates", "without_rates"]

RATES = "rates."
"""What the names of learned rates begin with, among the meta-parameters."""


def initial_rates(params: Params, schedule: Schedule, steps: int, per_scalar: bool = False) -> Params:
    """A rate for each tensor and step, [K], that starts as the schedule says.

    Args:
        params: what is adapted.
        schedule: where the rates start.
        steps: K.
        per_scalar: a rate for each scalar instead, [1, ...] a leaf, which all steps share and the first one's starts.

    Raises:
        ValueError: there is no step to have a rate.
    """
    if steps < 1:
        raise ValueError("learned rates belong to inner steps; at least one is needed, got 0.")
    if per_scalar:
        return {name: torch.full_like(leaf, schedule(0))[None] for name, leaf in params.items()}
    values = [schedule(step) for step in range(steps)]
    return {name: torch.tensor(values, dtype=leaf.dtype, device=leaf.device) for name, leaf in params.items()}


def learned_rates() -> Rule:
    """phi_{k+1}[l] = phi_k[l] - a[l, k] grad_l loss(phi_k, batch_k), with a = `meta`, one tensor [K] for each l,
    or [K, ...] with an entry for each scalar of it.

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


def named_rates(rates: Params) -> Params:
    """Rates by the names that they have among the meta-parameters."""
    return {RATES + name: rate for name, rate in rates.items()}


def without_rates(theta: Params) -> tuple[Params, Params | None]:
    """The inverse: meta-parameters without their rates, and the rates; None where there are none."""
    rates = {name.removeprefix(RATES): leaf for name, leaf in theta.items() if name.startswith(RATES)}
    return {name: leaf for name, leaf in theta.items() if not name.startswith(RATES)}, rates or None
