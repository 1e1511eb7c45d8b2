"""All Boolean functions of two or three inputs, and which of them one layer of synapses can hold."""

from functools import cache
from itertools import product
from typing import NamedTuple

__all__ = ["INPUTS", "NAMES", "BooleanFunction", "boolean_functions", "function_of", "patterns"]

INPUTS = (2, 3)
"""Numbers of inputs that there are functions of."""

NAMES = {
    "0000": "false", "0001": "and", "0010": "x1-and-not-x2", "0011": "x1", "0100": "x2-and-not-x1", "0101": "x2",
    "0110": "xor", "0111": "or", "1000": "nor", "1001": "xnor", "1010": "not-x2", "1011": "x2-implies-x1",
    "1100": "not-x1", "1101": "x1-implies-x2", "1110": "nand", "1111": "true",
}  # fmt: skip
"""Names of the functions of two inputs, by their values on 00, 01, 10 and 11."""


class BooleanFunction(NamedTuple):
    """A function of n inputs.

    Attributes:
        values: on the 2^n patterns, in the order of `patterns`.
        separable: whether a hyperplane parts the patterns on which it is true from the others.
    """

    values: tuple[bool, ...]
    separable: bool

    @property
    def name(self) -> str:
        """In words for two inputs, such as "xor"; otherwise ``f`` and the values, such as "f01101001"."""
        bits = "".join("01"[value] for value in self.values)
        return NAMES.get(bits, f"f{bits}")


def patterns(inputs: int) -> list[tuple[int, ...]]:
    """The 2^n patterns of n bits, counted upwards: 00, 01, 10, 11."""
    return list(product((0, 1), repeat=inputs))


@cache
def boolean_functions(inputs: int) -> tuple[BooleanFunction, ...]:
    """All 2^(2^n) functions of n inputs, counted upwards by their values.

    A function of at most three inputs is separable exactly if some whole weights of at most 2 and a threshold between
    whole numbers realise it (Muroga, 1971), so trying all of these finds all: 14 of 16, and 104 of 256.

    Raises:
        ValueError: not two or three inputs.
    """
    if inputs not in INPUTS:
        raise ValueError(f"`inputs` must be 2 or 3, got {inputs}.")
    rows = patterns(inputs)
    realised = set()
    for weights in product(range(-2, 3), repeat=inputs):
        sums = [sum(weight * bit for weight, bit in zip(weights, row, strict=True)) for row in rows]
        realised |= {tuple(total > threshold for total in sums) for threshold in range(min(sums) - 1, max(sums) + 1)}
    every = product((False, True), repeat=len(rows))
    return tuple(BooleanFunction(values, values in realised) for values in every)


def function_of(name: str, inputs: int) -> BooleanFunction:
    """The function of this name, see `BooleanFunction.name`.

    Raises:
        ValueError: there is none of n inputs.
    """
    for function in boolean_functions(inputs):
        if function.name == name:
            return function
    example = "'xor'" if inputs == 2 else "'f01101001'"
    raise ValueError(f"there is no Boolean function {name!r} of {inputs} inputs; they are called such as {example}.")
