"""Checks of constructor arguments and reset options: each refuses, in one line, what an environment cannot use."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["check_options", "not_negative", "one_of", "positive", "two_numbers", "whole"]


def positive(**numbers: float) -> None:
    """Refuses constructor arguments that are not positive, by name.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in numbers.items():
        if not isinstance(value, Real) or not 0 < value < float("inf"):
            raise ValueError(f"`{name}` must be a positive number, got {value!r}.")


def not_negative(**numbers: float) -> None:
    """Refuses constructor arguments that are negative or not finite, by name.

    Raises:
        ValueError: one of them is.
    """
    for name, value in numbers.items():
        if not isinstance(value, Real) or not 0 <= value < float("inf"):
            raise ValueError(f"`{name}` must be a number of at least 0, got {value!r}.")


def whole(**numbers: int) -> None:
    """Refuses constructor arguments that are not whole positive numbers, by name.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in numbers.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")


def one_of(choices: Sequence[Any], **arguments: Any) -> None:
    """Refuses constructor arguments that are none of the choices, by name.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in arguments.items():
        if value not in choices:
            raise ValueError(f"`{name}` must be {' or '.join(map(repr, choices))}, got {value!r}.")


def two_numbers(**pairs: Sequence[float]) -> tuple[float, float]:
    """The pair of numbers that a constructor argument holds.

    Raises:
        ValueError: it holds something else.
    """
    ((name, pair),) = pairs.items()
    try:
        low, high = (float(value) for value in pair)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be two numbers, got {pair!r}.") from None
    return low, high


def check_options(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuses reset options that would be ignored.

    Raises:
        ValueError: one of them is not known.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"reset options are {' and '.join(known)}, got {', '.join(unknown)}.")
