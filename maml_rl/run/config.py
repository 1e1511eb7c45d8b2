"""A system's configuration: from YAML files and command-line overrides, and back into a run folder."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from maml_rl.run.errors import UsageError
from maml_rl.run.parser import LineParser, early_options, read_yaml
from maml_rl.systems.registry import BUILT_IN, Registered, registered
from maml_rl.systems.system import RunConfig

__all__ = ["config_to_dict", "dump_config", "load_config", "parser_for", "read_config", "system_named"]

DEFAULT_SYSTEM = "maml_trpo"


def system_named(argv: Sequence[str]) -> Registered:
    """Which system a command line is for: its `--system`, that of its `--config` file, or the default one.

    Raises:
        UsageError: a file that cannot be read, or a name there is no system of.
    """
    given, _ = early_options(argv, "config", "system")
    asked, file = given["system"][-1:], given["config"][-1:]
    stored = [read_yaml(Path(file[0])).get("system")] if file else []
    if asked and stored not in ([], [None], asked):
        raise UsageError(f"{file[0]} configures the system {stored[0]}, `--system` says {asked[0]}.")
    names = [name for name in (*asked, *stored, DEFAULT_SYSTEM) if name]
    try:
        return registered(str(names[0]))
    except ValueError as error:
        raise UsageError(str(error)) from error


def parser_for(system: Registered, description: str | None = None) -> LineParser:
    """A parser with `--config`, `--system` and one option for each field of the system's configuration."""
    parser = LineParser(description=description)
    parser.add_argument("--config", action="config", help="YAML file with overrides of the defaults.")
    names = f"{', '.join(BUILT_IN)}, or package.module for one of your own"
    parser.add_argument("--system", type=str, default=system.name, help=f"what is trained: {names}.")
    parser.add_dataclass(system.config)
    return parser


def read_config(argv: Sequence[str]) -> tuple[Registered, RunConfig]:
    """The system and the configuration that a command line without other options describes.

    Raises:
        UsageError: a file is missing or malformed, there is no such system, or it refuses the configuration.
    """
    system = system_named(argv)
    parser = parser_for(system)
    (config,) = parser.made(parser.read(argv))
    return system, config


def load_config(path: Path) -> tuple[Registered, RunConfig]:
    """The system and the configuration that a run folder's file describes.

    Raises:
        UsageError: the file is missing, malformed, or of an unknown system.
    """
    return read_config(["--config", str(path)])


def dump_config(system: str, config: RunConfig) -> str:
    """The system's name and all fields as YAML that reads back to the same configuration."""
    content = {"system": system, **config_to_dict(config)}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain containers."""
    return asdict(config)
