"""A meta-optimiser with its state in plain sight: Adam (Kingma and Ba, 2015) and cosine annealing of its rate."""

import math

import torch
from torch.optim.adam import adam

from maml_rl.core.types import Params

__all__ = ["AdamState", "adam_start", "adam_step", "cosine"]

AdamState = dict[str, Params]
"""Running means of gradients and of their squares, and the number of steps, for each parameter."""


def adam_start(params: Params) -> AdamState:
    """The state before the first step."""
    return {
        "mean": {name: torch.zeros_like(leaf) for name, leaf in params.items()},
        "square": {name: torch.zeros_like(leaf) for name, leaf in params.items()},
        "steps": {name: torch.zeros((), dtype=torch.float32) for name in params},
    }


def adam_step(params: Params, gradients: Params, state: AdamState, rate: float) -> tuple[Params, AdamState]:
    """theta' = theta - rate m^ / (sqrt(v^) + 1e-8), by PyTorch's own implementation; nothing is changed in place.

    Args:
        params: theta.
        gradients: of the same names and shapes.
        state: of the step before, or `adam_start(params)`.
        rate: of this step.
    """
    new = {name: leaf.detach().clone() for name, leaf in params.items()}
    moved = {kind: {name: leaf.clone() for name, leaf in leaves.items()} for kind, leaves in state.items()}
    with torch.no_grad():
        adam(
            list(new.values()),
            [gradients[name] for name in new],
            [moved["mean"][name] for name in new],
            [moved["square"][name] for name in new],
            max_exp_avg_sqs=[],
            state_steps=[moved["steps"][name] for name in new],
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
    return new, moved


def cosine(start: float, end: float, progress: float) -> float:
    """end + (start - end) (1 + cos(pi progress)) / 2, progress from 0 to 1 (Loshchilov and Hutter, 2017)."""
    return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
