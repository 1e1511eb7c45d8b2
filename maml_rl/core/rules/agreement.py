"""PowerSign and AddSign: longer steps where a gradient agrees with the mean of those before (Bello et al., 2017)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from maml_rl.core.rules.decays import DECAYS, Decay, share_of
from maml_rl.core.rules.sgd import gradient
from maml_rl.core.schedules import Schedule
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["add_sign", "decay_of", "power_sign"]


def power_sign(schedule: Schedule, base: float = math.e, decay: Callable[[int], float] = lambda step: 1.0) -> Rule:
    """phi_{k+1} = phi_k - a_k base^(f(k) sign(g) sign(m)) g, m the running mean of gradients with decay 0.9.

    Args:
        schedule: a_k.
        base: of the power.
        decay: f; see `decay_of`.

    Raises:
        ValueError: `base` is not positive.
    """
    if not 0 < base < math.inf:
        raise ValueError(f"`base` must be positive and finite, got {base}.")
    return _by_agreement("power_sign", schedule, lambda agreement, step: base ** (decay(step) * agreement))


def add_sign(schedule: Schedule, offset: float = 1.0, decay: Callable[[int], float] = lambda step: 1.0) -> Rule:
    """phi_{k+1} = phi_k - a_k (offset + f(k) sign(g) sign(m)) g, m the running mean of gradients with decay 0.9.

    Args:
        schedule: a_k.
        offset: of the factor.
        decay: f; see `decay_of`.
    """
    return _by_agreement("add_sign", schedule, lambda agreement, step: offset + decay(step) * agreement)


def decay_of(name: Decay | Literal["none"], horizon: int) -> Callable[[int], float]:
    """f(t) of this name over T steps; a step behind them counts as the last one.

    Args:
        name: see `Decay`; "none" is 1 throughout.
        horizon: T.

    Raises:
        ValueError: T is not positive.
    """
    if horizon < 1:
        raise ValueError(f"`horizon` must be at least 1, got {horizon}.")

    if name == "none":
        return lambda step: 1.0
    return lambda step: DECAYS[name](share_of(torch.tensor(step, dtype=torch.float64), horizon)).item()


def _by_agreement(name: str, schedule: Schedule, factor: Callable[[Tensor, int], Tensor]) -> Rule:
    def start(params: Params, meta: Meta) -> Params:
        return {name: torch.zeros_like(leaf) for name, leaf in params.items()}

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        rate = schedule(step)
        means = {name: 0.9 * mean + 0.1 * signal[name] for name, mean in state.memory.items()}
        moved = {
            name: leaf - rate * factor(signal[name].sign() * means[name].sign(), step) * signal[name]
            for name, leaf in state.params.items()
        }
        return InnerState(moved, means)

    return Rule(name, start, gradient, move)
