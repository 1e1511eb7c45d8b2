"""A finished run, ready to be used: its system without the training environments, and the state of a checkpoint."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from maml_rl.run.checkpoint import fitted
from maml_rl.run.cli import build_system
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.systems import SYSTEMS

__all__ = ["OpenedRun", "open_run"]


class OpenedRun(NamedTuple):
    """What evaluating and rendering need.

    Attributes:
        config: the run's own configuration.
        system: built for one task and one episode, which is enough to know the spaces.
        state: the checkpoint's.
        iteration: how many iterations made it.
    """

    config: Any
    system: Any
    state: dict[str, Any]
    iteration: int


@contextmanager
def open_run(path: Path, checkpoint: str, device: str | None = None) -> Iterator[OpenedRun]:
    """Opens a run for a `with` block, and turns what breaks inside the block into a `RunFault`.

    Args:
        path: the run folder.
        checkpoint: "best" or "last".
        device: another than the run's own, if given.

    Raises:
        UsageError: no run, no checkpoint, one that does not fit, or a device there is none of.
    """
    folder = RunFolder.open(path)
    stored = folder.load(checkpoint)
    config = folder.config if device is None else dataclasses.replace(folder.config, device=device)
    system = build_system(SYSTEMS[folder.system][1], dataclasses.replace(config, tasks=1, episodes=1))
    try:
        state = fitted(stored["state"], system.initial_state(), path)
        yield OpenedRun(folder.config, system, state, stored["iteration"])
    except (UsageError, RunFault):
        raise
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise RunFault(f"checkpoint {checkpoint} of {path} (iteration {stored['iteration']}): {error}") from error
    finally:
        system.close()
