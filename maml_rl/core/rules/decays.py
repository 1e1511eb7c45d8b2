"""Decays of a training, as functions of how much of it is over."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["DECAYS", "Decay", "share_of"]

Decay: TypeAlias = Literal["linear", "cosine", "restart"]
"""From 1 to 0 along a line, along half a cosine wave, or along ten of these one after the other (Loshchilov and Hutter,
2017)."""

DECAYS: dict[Decay, Callable[[Tensor], Tensor]] = {
    "linear": lambda share: 1 - share,
    "cosine": lambda share: 0.5 * (1 + torch.cos(math.pi * share)),
    "restart": lambda share: 0.5 * (1 + torch.cos(math.pi * ((10 * share) % 1))),
}


def share_of(step: Tensor, horizon: int) -> Tensor:
    """k / (T - 1), how much of a training of T steps is over at step k; a step behind them counts as the last one."""
    return (step / max(horizon - 1, 1)).clamp(max=1)
