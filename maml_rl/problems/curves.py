"""Curves of losses in other words: means of equal parts, and logarithms of ratios to the first loss."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "log_ratios", "parts_of"]

Array = NDArray[np.float64]

LEAST = 1e-12
"""Of a loss over the first one: what is below counts as this."""


def parts_of(losses: Array, parts: int) -> Array:
    """The mean of each of K equal parts of curves [seeds, steps]; what is left over counts to the first one."""
    length = losses.shape[1] // parts
    kept = losses[:, losses.shape[1] - length * parts :]
    return kept.reshape(len(losses), parts, length).mean(-1)


def log_ratios(curves: Array, first: Array) -> Array:
    """log10 of losses over the first one, at least -12: 0 and then each part, [K + 1, seeds].

    Args:
        curves: losses, [seeds, K].
        first: those before training, [seeds].
    """
    ratios = np.concatenate([np.ones((len(first), 1)), curves / first[:, None]], 1)
    return np.log10(np.maximum(ratios, LEAST)).T
