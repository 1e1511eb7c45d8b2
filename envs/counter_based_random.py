"""Random numbers as a function of the state: dynamics with chance in them stay pure functions of arrays.

A state holds a key, drawn at the start of an episode, and the time step; what chance decides follows from the two. The
numbers are those of SplitMix64 (Steele, Lea and Flood, 2014), started from the key, the step and a stream. Arrays of
numpy and tensors of torch give the same uniform numbers, bit by bit.
"""

import numpy as np

from envs.array_namespace import ArrayT, cast, namespace_of

__all__ = ["draw_key", "normal", "uniform"]

_KEYS = 2**53  # whole numbers below it are exact in float64


def draw_key(rng: np.random.Generator) -> float:
    """A key for one episode."""
    return float(rng.integers(_KEYS))


def uniform(keys: ArrayT, steps: ArrayT, stream: int = 0) -> ArrayT:
    """Numbers in [0, 1), one for each key [n] and step [n]; other streams are independent of this one."""
    xp = namespace_of(keys)
    word = _mixed(cast(keys, xp.int64))
    word = _mixed(word + cast(steps, xp.int64) * _GOLDEN)
    word = _mixed(word + _signed(stream * _GOLDEN))
    return cast(_shifted(word, 11), xp.float64) * 2.0**-53


def normal(keys: ArrayT, steps: ArrayT, stream: int = 0) -> ArrayT:
    """Standard normal numbers (Box and Muller, 1958); takes the streams `stream` and `stream` + 1."""
    xp = namespace_of(keys)
    radius = xp.sqrt(-2.0 * xp.log1p(-uniform(keys, steps, stream)))
    return radius * xp.cos(2.0 * np.pi * uniform(keys, steps, stream + 1))


def _mixed(words: ArrayT) -> ArrayT:
    words = words + _GOLDEN
    words = (words ^ _shifted(words, 30)) * _FIRST
    words = (words ^ _shifted(words, 27)) * _SECOND
    return words ^ _shifted(words, 31)


def _shifted(words: ArrayT, bits: int) -> ArrayT:
    """Words of 64 bits without a sign, shifted to the right. They are int64, for torch lacks arithmetic of uint64."""
    return (words >> bits) & (2 ** (64 - bits) - 1)


def _signed(word: int) -> int:
    """The number of int64 that has the last 64 bits of `word`."""
    return (word + 2**63) % 2**64 - 2**63


_GOLDEN, _FIRST, _SECOND = (_signed(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
