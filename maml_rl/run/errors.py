"""The two ways a command fails: it was asked for something impossible, or something broke while it ran."""

import traceback
from pathlib import Path

__all__ = ["RunFault", "UsageError", "told"]


class UsageError(ValueError):
    """A wrong option, file or combination, found before any work starts: exit code 2."""


class RunFault(RuntimeError):
    """A fault while running: exit code 1. Earlier checkpoints are intact."""


def told(error: Exception) -> str:
    """An error as a sentence: what it says, and of errors that say little their type and where they were raised."""
    text = " ".join(str(error).split())
    if isinstance(error, (ArithmeticError, AttributeError, LookupError, TypeError)) and not isinstance(
        error, FloatingPointError
    ):
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
        text = f"{type(error).__name__}: {text}{place}"
    return text if text.endswith((".", "!", "?")) else f"{text}."
