"""The state of a random generator as six words, which an array can hold."""

from typing import Any

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

__all__ = ["generator_of_words", "generator_words"]

_LOW = 2**64 - 1


def generator_words(generator: Generator) -> NDArray[np.int64]:
    """The words of a generator on PCG64, [6]: state and increment in halves, and what is left of the last draw."""
    state: Any = generator.bit_generator.state
    inner = state["state"]
    halves = [half for number in (inner["state"], inner["inc"]) for half in (number >> 64, number & _LOW)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64).view(np.int64)


def generator_of_words(words: NDArray[np.int64]) -> Generator:
    """The generator that goes on where the one with these words stood."""
    high, low, inc_high, inc_low, has, left = (int(word) for word in words.astype(np.int64).view(np.uint64))
    bits = PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has,
        "uinteger": left,
    }
    return Generator(bits)
