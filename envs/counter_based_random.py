"""Random numbers as a function of the state: dynamics with chance in them stay pure functions of arrays.

A state holds a key, drawn at the start of an episode, and the time step; what chance decides follows from the two. The
numbers are those of SplitMix64 (Steele, Lea and Flood, 2014), started from the key, the step and a stream.
"""

import numpy as np
from numpy.typing import NDArray

from envs.task_distribution import Array

__all__ = ["draw_key", "normal", "uniform"]

_GOLDEN, _FIRST, _SECOND = (np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_KEYS = 2**53  # whole numbers below it are exact in float64


def draw_key(rng: np.random.Generator) -> float:
    """A key for one episode."""
    return float(rng.integers(_KEYS))


def uniform(keys: Array, steps: Array, stream: int = 0) -> Array:
    """Numbers in [0, 1), one for each key [n] and step [n]; other streams are independent of this one."""
    word = _mixed(keys.astype(np.uint64))
    word = _mixed(word + steps.astype(np.uint64) * _GOLDEN)
    word = _mixed(word + np.uint64(stream * int(_GOLDEN) % 2**64))
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(keys: Array, steps: Array, stream: int = 0) -> Array:
    """Standard normal numbers (Box and Muller, 1958); takes the streams `stream` and `stream` + 1."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(keys, steps, stream)))
    return radius * np.cos(2.0 * np.pi * uniform(keys, steps, stream + 1))


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    mixed: NDArray[np.uint64] = words ^ (words >> np.uint64(31))
    return mixed
