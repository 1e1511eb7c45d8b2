"""Ctrl-C and SIGTERM end a run between two iterations or in the middle of one, but never amid its bookkeeping."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """While entered, an interrupt raises `KeyboardInterrupt` in `welcome` at once, elsewhere at the next `check`."""

    def __init__(self) -> None:
        self._pending = self._welcome = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            # A signal that the parent asked to ignore stays ignored.
            wanted = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._handle) for number in wanted}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def welcome(self) -> Iterator[None]:
        """A block that may be left at any point, because nothing it does counts before its end."""
        self.check()
        self._welcome = True
        try:
            yield
        finally:
            self._welcome = False

    def check(self) -> None:
        """Raises `KeyboardInterrupt` if an interrupt came in the meantime."""
        if self._pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: Any) -> None:
        self._pending = True
        if self._welcome:
            self._welcome = False
            raise KeyboardInterrupt
