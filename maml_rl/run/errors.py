"""The two ways a command fails: it was asked for something impossible, or something broke while it ran."""

__all__ = ["RunFault", "UsageError"]


class UsageError(ValueError):
    """A wrong option, file or combination, found before any work starts: exit code 2."""


class RunFault(RuntimeError):
    """A fault while running: exit code 1. Earlier checkpoints are intact."""
