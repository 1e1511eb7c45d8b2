"""Iterations of any system, for tests."""

from collections.abc import Callable
from typing import Any

from maml_rl.systems.system import Metrics, State, System

__all__ = ["lived"]


def lived(
    make: Callable[[Any], System[Any, Any]], config: Any, iterations: int, state: State | None = None, first: int = 0
) -> tuple[list[Metrics], State]:
    """The rows of metrics without times and speeds, and the state, after iterations of a new system from `first` on."""
    system, rows = make(config), list[Metrics]()
    state = system.initial_state() if state is None else state
    for iteration in range(first, iterations):
        state, metrics = system.iterate(state, iteration)
        rows.append({name: value for name, value in system.row(metrics, state).items() if not name.endswith("_s")})
    system.close()
    return rows, state
