"""Starting a run and going on with one: the system of a configuration, and the folder that its training goes to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from maml_rl.run.cli import build_system
from maml_rl.run.folder import RunFolder
from maml_rl.systems import SYSTEMS

__all__ = ["own_config", "started"]


@contextmanager
def started(system: str, config: Any, path: Path, earlier: RunFolder | None) -> Iterator[tuple[Any, RunFolder]]:
    """The built system and its run folder, for a `with` block that trains.

    Args:
        system: its name.
        config: its configuration.
        path: where a new run goes.
        earlier: the folder of the run that goes on; None for a new one.

    Raises:
        UsageError: a combination the system refuses, a folder in the way, or data that are not the run's.
    """
    # A run that goes on has its own weights already.
    fresh = replace(config, start=None) if earlier is not None and hasattr(config, "start") else config
    built = build_system(SYSTEMS[system][1], fresh)
    try:
        identity = built.data_identity()
        if earlier is None:
            folder = RunFolder.create(path, system, config, identity)
        else:
            earlier.require_same_data(identity)
            folder = earlier.with_config(config)
        yield built, folder
    finally:
        built.close()


def own_config(argv: Sequence[str], name: str = "config.yaml") -> list[str]:
    """Options that read the settings, in the file `name`, of what `argv` wants to go on with, if it does."""
    if "--resume" not in argv:
        return []
    outputs = [value.partition("=")[2] for value in argv if value.startswith("--output=")]
    outputs += [after for option, after in pairwise(argv) if option == "--output"]
    found = Path(outputs[-1]) / name if outputs else None
    return ["--config", str(found)] if found is not None and found.is_file() else []
