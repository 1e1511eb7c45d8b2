"""Starting a training run and going on with one: its system, prepared, and the folder that it writes to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from maml_rl.run.checkpoint import require_storable
from maml_rl.run.cli import refused_in_one_line
from maml_rl.run.folder import RunFolder
from maml_rl.run.parser import early_options
from maml_rl.systems.registry import Registered
from maml_rl.systems.system import RunConfig, State, System

__all__ = ["TrainingRun", "config_of_resumed", "training_run"]


class TrainingRun(NamedTuple):
    """What training needs.

    Attributes:
        system: prepared.
        folder: of the run.
        initial: the state that a new run starts from; None where it goes on.
    """

    system: System[Any, Any]
    folder: RunFolder
    initial: State | None


@contextmanager
def training_run(
    registered: Registered, config: RunConfig, path: Path, earlier: RunFolder | None
) -> Iterator[TrainingRun]:
    """The run of a configuration, for a `with` block that trains.

    Args:
        registered: the system.
        config: its configuration.
        path: where a new run goes.
        earlier: the folder of the run that goes on; None for a new one.

    Raises:
        UsageError: a combination the system refuses, a folder in the way, or data that are not the run's.
    """
    with refused_in_one_line():
        system = registered.make(config)
    try:
        with refused_in_one_line():
            system.prepare()
            initial = system.initial_state() if earlier is None else None
            require_storable(initial)
        if earlier is None:
            folder = RunFolder.create(path, registered, system)
        else:
            earlier.require_same_data(system.data_identity())
            folder = earlier.with_config(config)
        yield TrainingRun(system, folder, initial)
    finally:
        system.close()


def config_of_resumed(argv: Sequence[str], name: str = "config.yaml") -> list[str]:
    """Options that read the settings, in the file `name`, of what `argv` wants to go on with, if it does."""
    if "--resume" not in argv:
        return []
    given, _ = early_options(argv, "output")
    files = [Path(output) / name for output in given["output"][-1:]]
    return ["--config", str(files[0])] if files and files[0].is_file() else []
