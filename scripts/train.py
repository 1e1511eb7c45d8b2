#!/usr/bin/env python
"""Meta-trains: python scripts/train.py --config configs/maml_trpo/2d-navigation.yaml --output runs/navigation."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maml_rl.run.cli import exit_code
from maml_rl.run.config import config_to_dict, parser_for, system_named
from maml_rl.run.errors import UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.run.parser import LineParser
from maml_rl.run.train import train
from maml_rl.run.training_run import config_of_resumed, training_run
from maml_rl.systems.registry import Registered
from maml_rl.systems.system import RunConfig


def main(argv: Sequence[str]) -> int:
    """Trains a new run, or goes on with one."""
    # A run's own file stands first, so that only what this command line says can differ from it.
    argv = [*config_of_resumed(argv), *argv]
    system = system_named(argv)
    parser = training_parser(system)
    settings = parser.read(argv)
    if settings.output is None:
        raise UsageError("say where the run goes: --output runs/NAME.")
    path = Path(settings.output)
    earlier, done = None, 0
    if settings.resume:
        earlier = RunFolder.open(path)
        done = earlier.load("last")["iteration"]
    else:
        RunFolder.require_free(path)
    (config,) = parser.made(settings)
    if earlier is not None:
        _require_same_run(earlier.config, config)
        if config.iterations < done:
            raise UsageError(f"{path} has {done} iterations already, got --iterations {config.iterations}.")
    with training_run(system, config, path, earlier) as run:
        for remark in config.remarks() if earlier is None else []:
            print(f"note: {remark}")
        tasks = run.system.tasks_name
        print(f"training {system.name} on {tasks} to {config.iterations} iterations, from {done}, in {path}")
        finished = train(run)
    print(f"run folder: {path}")
    return 0 if finished else 130


def training_parser(system: Registered) -> LineParser:
    """A parser with the configuration's options and this script's own."""
    parser = parser_for(system, description=__doc__)
    parser.add_argument("--output", type=str, default=None, help="the run folder.")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output.")
    return parser


def _require_same_run(stored: RunConfig, wanted: RunConfig) -> None:
    old, new = _by_option(config_to_dict(stored)), _by_option(config_to_dict(wanted))
    changed = sorted(name for name in {*old, *new} - wanted.extendable if new.get(name) != old.get(name))
    if changed:
        raise UsageError(f"a resumed run keeps its configuration, but this would change: {', '.join(changed)}.")
    schedule = stored.schedule_end()
    if schedule is not None and stored.iterations != wanted.iterations:
        raise UsageError(
            f"`{schedule}` is reached after `iterations`, so the run keeps its {stored.iterations}, got "
            f"{wanted.iterations}."
        )


def _by_option(content: dict[str, Any], beginning: str = "") -> dict[str, Any]:
    """Values by the dotted names of their options."""
    options: dict[str, Any] = {}
    for name, value in content.items():
        options |= _by_option(value, f"{beginning}{name}.") if isinstance(value, dict) else {beginning + name: value}
    return options


if __name__ == "__main__":
    sys.exit(exit_code(main))
