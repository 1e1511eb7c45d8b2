"""What a check of a task environment says, and what ends the checks early."""

from typing import NamedTuple

__all__ = ["SEED", "CannotGoOn", "Finding", "one_line"]

SEED = 17
"""Of everything that the checks draw."""


class Finding(NamedTuple):
    """What a check has to say.

    Attributes:
        serious: whether training would fail or learn from wrong data; otherwise it is worth a look.
        text: what is wrong and how to mend it.
    """

    serious: bool
    text: str


class CannotGoOn(Exception):
    """A fault after which the remaining checks cannot be made; the message says what is wrong and how to mend it."""


def one_line(error: Exception) -> str:
    """The exception's type and message in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
