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
        system: built for use, not for training.
        state: the checkpoint's.
        iteration: how many iterations made it.
        checkpoint: which one it is: "last" also where there is no "best" yet.
        states: the best ones by validation where an ensemble was asked for, otherwise the checkpoint's alone.
    """

    config: Any
    system: Any
    state: dict[str, Any]
    iteration: int
    checkpoint: str
    states: list[dict[str, Any]]


@contextmanager
def open_run(
    path: Path, checkpoint: str, device: str | None = None, data: str | None = None, ensemble: int = 1
) -> Iterator[OpenedRun]:
    """Opens a run for a `with` block, and turns what breaks inside the block into a `RunFault`.

    Args:
        path: the run folder.
        checkpoint: "best" or "last".
        device: another than the run's own, if given.
        data: where the data are now, if not where they were.
        ensemble: how many of the best states by validation; 1 for the checkpoint alone.

    Raises:
        UsageError: no run, no checkpoint, one that does not fit, or a device or data there are none of.
    """
    folder = RunFolder.open(path)
    if ensemble > 1 and checkpoint == "last":
        raise UsageError("an ensemble is of the best states by validation; leave --checkpoint last out.")
    if checkpoint == "best" and not folder.has("best") and folder.has("last"):
        checkpoint = "last"  # no epoch has ended yet
    stored = folder.load(checkpoint)
    loaded = [stored["state"]] if ensemble == 1 else _best(folder, ensemble)
    constructor = SYSTEMS[folder.system][1]
    changes = {name: value for name, value in {"device": device, "data": data}.items() if value is not None}
    if not hasattr(folder.config, "data") and data is not None:
        raise UsageError(f"`data` goes with supervised runs, {path} is one of {folder.system}.")
    config = constructor.for_use(dataclasses.replace(folder.config, **changes))
    system = build_system(constructor, config)
    try:
        folder.require_same_data(system.data_identity())
        fresh = system.initial_state()
        states = [fitted(state, fresh, path) for state in loaded]
        state = states[0] if ensemble == 1 else fitted(stored["state"], fresh, path)
        yield OpenedRun(folder.config, system, state, stored["iteration"], checkpoint, states)
    except (UsageError, RunFault):
        raise
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise RunFault(f"checkpoint {checkpoint} of {path} (iteration {stored['iteration']}): {error}") from error
    finally:
        system.close()


def _best(folder: RunFolder, count: int) -> list[dict[str, Any]]:
    kept = folder.load("last").get("kept", [])
    if len(kept) < count:
        raise UsageError(
            f"an ensemble of {count} is asked for, {folder.path} holds {len(kept)} validated states: one "
            f"comes with each epoch, and of those training keeps --test.keep {folder.config.test.keep}."
        )
    return [folder.load(f"validated-{iteration}")["state"] for _, iteration in kept[:count]]
