#!/usr/bin/env python
"""Meta-trains: python scripts/train.py --config configs/maml_trpo/2d-navigation.yaml --output runs/navigation."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from maml_rl.run.cli import exit_code
from maml_rl.run.config import LineParser, config_to_dict, instantiate, parser_for, read_settings, system_named
from maml_rl.run.errors import UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.run.train import train
from maml_rl.run.training_run import own_config, started

# What may differ when a run goes on; anything else would make it another run.
_EXTENDABLE = {"iterations", "data"}


def main(argv: Sequence[str]) -> int:
    """Trains a new run, or goes on with one."""
    # A run's own file stands first, so that only what this command line says can differ from it.
    system, settings, parser = _parse([*own_config(argv), *argv])
    if settings.output is None:
        raise UsageError("say where the run goes: --output runs/NAME.")
    path = Path(settings.output)
    if settings.resume:
        earlier = RunFolder.open(path)
        config = instantiate(parser, settings, system)
        _require_same_run(earlier.config, config)
        done = earlier.load("last")["iteration"]
        if config.iterations < done:
            raise UsageError(f"{path} has {done} iterations already, got --iterations {config.iterations}.")
    else:
        earlier = None
        RunFolder.require_free(path)
        config = instantiate(parser, settings, system)
    with started(system, config, path, earlier) as (built, folder):
        for remark in [] if settings.resume else config.remarks():
            print(f"note: {remark}")
        done = folder.load("last")["iteration"] if settings.resume else 0
        print(f"training {system} on {_task_named(config)} to {config.iterations} iterations, from {done}, in {path}")
        finished = train(built, folder, config.iterations, settings.resume)
    print(f"run folder: {path}")
    return 0 if finished else 130


def _task_named(config: Any) -> str:
    """The environment or the distribution of tasks."""
    part = getattr(config, "environment", None) or config.distribution
    return str(part.id)


def _parse(argv: Sequence[str]) -> tuple[str, Namespace, LineParser]:
    system = system_named(argv)
    parser = parser_for(system, description=__doc__)
    parser.add_argument("--output", type=str, default=None, help="the run folder.")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output.")
    return system, read_settings(parser, argv), parser


def _require_same_run(stored: object, wanted: object) -> None:
    old, new = config_to_dict(stored), config_to_dict(wanted)
    changed = sorted(name for name in new if new[name] != old[name] and name not in _EXTENDABLE)
    if changed:
        raise UsageError(f"a resumed run keeps its configuration, but this would change: {', '.join(changed)}.")
    if new["iterations"] != old["iterations"] and new.get("outer", {}).get("final_rate") is not None:
        raise UsageError(
            f"`outer.final_rate` is reached after `iterations`, so the run keeps its {old['iterations']}, got "
            f"{new['iterations']}."
        )


if __name__ == "__main__":
    sys.exit(exit_code(main))
