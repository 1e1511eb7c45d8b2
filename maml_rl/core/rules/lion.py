"""Lion as an inner update rule: the sign of a mean of gradients (Chen et al., 2023, algorithm 2)."""

import torch

from maml_rl.core.rules.sgd import gradient
from maml_rl.core.schedules import Schedule
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["lion"]


def lion(schedule: Schedule, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0) -> Rule:
    """phi_{k+1} = phi_k - a_k (sign(beta1 m_k + (1 - beta1) g_k) + w phi_k), m_{k+1} = beta2 m_k + (1 - beta2) g_k.

    A sign has no derivative, so no meta-gradient passes through it.

    Args:
        schedule: a_k; three to ten times smaller than Adam's.
        beta1: decay of the mean that is moved by.
        beta2: decay of the mean that is remembered.
        weight_decay: w.

    Raises:
        ValueError: a decay is not in [0, 1), or `weight_decay` is negative.
    """
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and 0 <= weight_decay < float("inf")):
        raise ValueError(
            "Lion's decays must be in [0, 1) and its weight decay finite and at least 0, got "
            f"{beta1}, {beta2}, {weight_decay}."
        )

    def start(params: Params, meta: Meta) -> Params:
        return {name: torch.zeros_like(leaf) for name, leaf in params.items()}

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        rate, moved, means = schedule(step), {}, {}
        for name, leaf in state.params.items():
            mean, slope = state.memory[name], signal[name]
            moved[name] = leaf - rate * ((beta1 * mean + (1 - beta1) * slope).sign() + weight_decay * leaf)
            means[name] = beta2 * mean + (1 - beta2) * slope
        return InnerState(moved, means)

    return Rule("lion", start, gradient, move)
