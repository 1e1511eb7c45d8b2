"""Gradient descent with momentum (Polyak, 1964; Sutskever et al., 2013, for Nesterov's form)."""

import torch

from maml_rl.core.rules.sgd import gradient
from maml_rl.core.schedules import Schedule
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["momentum"]


def momentum(schedule: Schedule, decay: float = 0.9, nesterov: bool = False) -> Rule:
    """v_{k+1} = mu v_k + g_k, phi_{k+1} = phi_k - a_k v_{k+1}, v_0 = 0, as `torch.optim.SGD` has it.

    Nesterov's form moves by g_k + mu v_{k+1}. The velocity is the rule's memory.

    Args:
        schedule: a_k.
        decay: mu.
        nesterov: whether the step looks ahead.

    Raises:
        ValueError: `decay` is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"the momentum's decay must be in [0, 1), got {decay}.")

    def start(params: Params, meta: Meta) -> Params:
        return {name: torch.zeros_like(leaf) for name, leaf in params.items()}

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        rate = schedule(step)
        velocity = {name: decay * leaf + signal[name] for name, leaf in state.memory.items()}
        ahead = {name: signal[name] + decay * leaf for name, leaf in velocity.items()} if nesterov else velocity
        return InnerState({name: leaf - rate * ahead[name] for name, leaf in state.params.items()}, velocity)

    return Rule("momentum", start, gradient, move)
