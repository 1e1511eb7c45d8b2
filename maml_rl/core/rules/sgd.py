"""Gradient descent with a step schedule (Finn et al., 2017, equation 1 and appendix A.2)."""

from typing import Any

import torch

from maml_rl.core.schedules import Schedule
from maml_rl.core.types import Batch, InnerState, Loss, Meta, Params, Rule

__all__ = ["gradient", "sgd"]


def gradient(loss: Loss, state: InnerState, batch: Batch, meta: Meta, step: int) -> tuple[Params, Any]:
    """grad_phi loss(phi, batch, meta), the signal of every gradient rule, and the loss's further results."""
    return torch.func.grad(loss, has_aux=True)(state.params, batch, meta, step)  # type: ignore[no-any-return]


def sgd(schedule: Schedule) -> Rule:
    """phi_{k+1} = phi_k - a_k grad loss(phi_k, batch_k), a_k = schedule(k)."""

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        rate = schedule(step)
        return InnerState({name: leaf - rate * signal[name] for name, leaf in state.params.items()})

    return Rule("sgd", lambda params, meta: (), gradient, move)
