"""Adam as an inner update rule, differentiable in everything (Kingma and Ba, 2015, algorithm 1)."""

import torch

from maml_rl.core.rules.sgd import gradient
from maml_rl.core.schedules import Schedule
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["adam"]

_ROOT = 1e-16


def adam(schedule: Schedule, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Rule:
    """phi_{k+1} = phi_k - a_k m^ / (sqrt(v^ + 1e-16) + epsilon), m^ and v^ the unbiased running means of g and g^2.

    The 1e-16 under the root keeps derivatives finite where a gradient is zero. The running means are the rule's memory;
    the bias correction counts inner steps from 0.

    Args:
        schedule: a_k.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of their squares.
        epsilon: added to the root.

    Raises:
        ValueError: a decay is not in [0, 1), or `epsilon` not positive.
    """
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and 0 < epsilon < float("inf")):
        raise ValueError(f"Adam's decays must be in [0, 1) and epsilon positive, got {beta1}, {beta2}, {epsilon}.")

    def start(params: Params, meta: Meta) -> dict[str, Params]:
        return {part: {name: torch.zeros_like(leaf) for name, leaf in params.items()} for part in ("mean", "square")}

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        rate, mean, square = schedule(step), {}, {}
        params: Params = {}
        for name, leaf in state.params.items():
            slope = signal[name]
            mean[name] = beta1 * state.memory["mean"][name] + (1 - beta1) * slope
            square[name] = beta2 * state.memory["square"][name] + (1 - beta2) * slope.square()
            unbiased = mean[name] / (1 - beta1 ** (step + 1))
            spread = (square[name] / (1 - beta2 ** (step + 1)) + _ROOT).sqrt()
            params[name] = leaf - rate * unbiased / (spread + epsilon)
        return InnerState(params, {"mean": mean, "square": square})

    return Rule("adam", start, gradient, move)
