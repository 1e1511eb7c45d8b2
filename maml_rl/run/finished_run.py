"""A run, ready to be used: its system without training environments, and the states of its checkpoints."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from maml_rl.run.checkpoint import fitted
from maml_rl.run.cli import refused_in_one_line
from maml_rl.run.errors import RunFault, UsageError, told
from maml_rl.run.folder import RunFolder
from maml_rl.systems.system import RunConfig, State, System

__all__ = ["FinishedRun", "open_run"]


class FinishedRun(NamedTuple):
    """What evaluating, filming and exporting need.

    Attributes:
        system: of the run, which has made no training environments.
        state: the checkpoint's.
        iteration: how many iterations made it.
        checkpoint: which one it is: "last" also where there is no "best".
        states: the best ones by validation where an ensemble was asked for, otherwise the checkpoint's alone.
    """

    system: System[Any, Any]
    state: State
    iteration: int
    checkpoint: str
    states: list[State]


@contextmanager
def open_run(
    path: Path, checkpoint: str, places: dict[str, str | None] | None = None, states: int = 1
) -> Iterator[FinishedRun]:
    """Opens a run for a `with` block, and turns what breaks inside the block into a `RunFault`.

    Args:
        path: the run folder.
        checkpoint: "best" or "last".
        places: what of the configuration says where something is, and is elsewhere now: the device, the data.
        states: how many of the best states by validation; 1 for the checkpoint alone.

    Raises:
        UsageError: no run, no checkpoint, one that does not fit, or a device or data there are none of.
    """
    folder = RunFolder.open(path)
    if states > 1 and checkpoint == "last":
        raise UsageError("an ensemble is of the best states by validation; leave --checkpoint last out.")
    if checkpoint == "best" and not folder.has("best") and folder.has("last"):
        checkpoint = "last"  # no epoch has ended yet, or no state is the best
    stored = folder.load(checkpoint)
    loaded = [stored["state"]] if states == 1 else _best(folder, states)
    with refused_in_one_line():
        system = folder.system.make(_relocated(folder, places or {}))
    try:
        folder.require_same_data(system.data_identity())
        template = system.state_template()
        fitting = [fitted(state, template, path) for state in loaded]
        state = fitting[0] if states == 1 else fitted(stored["state"], template, path)
        yield FinishedRun(system, state, stored["iteration"], checkpoint, fitting)
    except (UsageError, RunFault):
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise RunFault(f"checkpoint {checkpoint} of {path} (iteration {stored['iteration']}): {told(error)}") from error
    finally:
        system.close()


def _relocated(folder: RunFolder, places: dict[str, str | None]) -> RunConfig:
    changes: dict[str, Any] = {name: place for name, place in places.items() if place is not None}
    foreign = sorted(changes.keys() - folder.config.places)
    if foreign:
        raise UsageError(f"`{foreign[0]}` does not go with {folder.path}, a run of {folder.system.name}.")
    return dataclasses.replace(folder.config, **changes)


def _best(folder: RunFolder, count: int) -> list[State]:
    kept = folder.load("last").get("kept", [])
    if len(kept) < count:
        raise UsageError(
            f"an ensemble of {count} is asked for, {folder.path} holds {len(kept)} validated states: one comes with "
            "each validation, and training keeps as many of the best as its configuration says."
        )
    return [folder.load(f"validated-{iteration}")["state"] for _, iteration in kept[:count]]
