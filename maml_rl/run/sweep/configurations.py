"""The configurations that a sweep trains: a file's with changes; all kinds of them tried before there is any trial."""

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from maml_rl.run.cli import refused_in_one_line
from maml_rl.run.config import dump_config, parser_for, read_config, system_named
from maml_rl.run.errors import UsageError
from maml_rl.run.sweep.options import Options
from maml_rl.run.sweep.space import written
from maml_rl.systems.registry import Registered
from maml_rl.systems.system import RunConfig

__all__ = ["configured", "tried_out"]


def configured(base: Path, changes: Mapping[str, Any], where: str) -> tuple[Registered, RunConfig]:
    """The system and its configuration: that of a file, changed.

    Args:
        base: the file.
        changes: dotted names and values.
        where: what the changes are, for messages about them.

    Raises:
        UsageError: the file cannot be read, or the changes are refused.
    """
    file = ["--config", str(base)]
    system = system_named(file)
    parser_for(system).read(file)  # what is wrong with the file is not `changes`' fault
    known = {entry.name for entry in fields(system.config)}
    for name in changes:
        if name.split(".")[0] not in known:
            raise UsageError(f"{where}: the configuration of {system.name} has no field {name!r}.")
    try:
        return read_config([*file, *(f"--{name}={written(value)}" for name, value in changes.items())])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def tried_out(options: Options) -> str:
    """The base as YAML, after trying each value of the space alone, and one iteration for the columns it reports.

    Raises:
        UsageError: something that no trial, or no trial with a certain value, could be trained with.
    """
    base = Path(options.base)
    system, config = configured(base, options.overrides, "`overrides`")
    for seed in options.seeds:
        configured(base, {**options.overrides, "seed": seed}, "`seeds`")
    for name, values in options.space.items():
        ((scale, entries),) = values.items()
        for index, entry in enumerate(entries):
            changes = {**options.overrides, "seed": options.seeds[0], name: entry}
            _, changed = configured(base, changes, f"`space`: {name} {entry}")
            if not index or scale == "choice":
                rows = _rows(system, changed)
            if rows < options.window:
                raise UsageError(f"`window` is {options.window}, but a run has {rows} rows.")
    columns = _columns(system, config)
    if columns and options.metric not in columns:
        raise UsageError(f"`metric`: training reports no {options.metric!r}; it reports {', '.join(columns)}.")
    return dump_config(system.name, config)


def _rows(system: Registered, config: RunConfig) -> int:
    """How many rows a training reports, after trying whether it can begin."""
    with refused_in_one_line():
        built = system.make(config)
        try:
            built.prepare()
            built.initial_state()
        finally:
            built.close()
    return math.ceil(config.iterations / built.report_every)


def _columns(system: Registered, config: RunConfig) -> list[str]:
    """What a training reports; nothing where its first iteration breaks, which another value may mend."""
    built = system.make(config)
    try:
        state, metrics = built.iterate(built.initial_state(), 0)
        return [*metrics, *built.validate(state, 1)]
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError):
        return []
    finally:
        built.close()
