"""Gradient descent with learned rates: for each parameter tensor and inner step (Antoniou et al., 2018, section 4), or
for each scalar (Meta-SGD, Li et al., 2017, equation 1).
"""

import torch

from maml_rl.core.rules.sgd import gradient
from maml_rl.core.schedules import Schedule
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["RATES", "initial_rates", "learned_rates"]

RATES = "rates"
"""The group of meta-parameters that the rule reads."""


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
    """phi_{k+1}[l] = phi_k[l] - a[l, k] grad_l loss(phi_k, batch_k), with a = ``meta["rates"]``, one tensor [K] for
    each l, or [K, ...] with an entry for each scalar of it.

    The rates are free in sign. Steps beyond the last one learned go on with its rates.
    """

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        rates = meta[RATES]
        return InnerState(
            {
                name: leaf - rates[name][min(step, len(rates[name]) - 1)] * signal[name]
                for name, leaf in state.params.items()
            }
        )

    return Rule("learned_rates", lambda params, meta: (), gradient, move)
