"""From YAML files and command-line overrides to a system's frozen dataclass, and back into a run folder."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from maml_rl.run.errors import UsageError
from maml_rl.systems.registry import BUILT_IN, Registered, registered
from maml_rl.systems.system import RunConfig

__all__ = [
    "LineParser",
    "config_to_dict",
    "dump_config",
    "instantiate",
    "load_config",
    "parser_for",
    "read_settings",
    "system_named",
]

DEFAULT_SYSTEM = "maml_trpo"


class LineParser(ArgumentParser):  # type: ignore[misc]
    """A parser whose errors are one line, raised as `UsageError`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "exit_on_error": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises instead of printing the usage of all options."""
        raise UsageError(_in_plain_words(" ".join(str(message).split()))) from ex


_KINDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "NoneType": "null"}
_MANY = {"int": "whole numbers", "float": "numbers", "str": "words"}


def _in_plain_words(message: str) -> str:
    """A value that does not fit, without the parser's names of types and its account of each that it tried."""
    found = re.search(r'Parser key "([\w.]+)".*?Subtypes: \[(.*?)\] Errors:.*Given value: (.*)$', message)
    found = found or re.search(r'^Parser key "([\w.]+)": Expected an? (.*?)\. Got value: (.*)$', message)
    if found is None:
        return message
    name, kinds, value = found.groups()
    # A comma within the brackets of a type does not end it.
    words = [_kind_in_words(kind) for kind in re.split(r", (?![^\[]*\])", kinds)]
    return f"`{name}` must be {' or '.join(words)}, got {value}."


def _kind_in_words(kind: str) -> str:
    kind = re.sub(r"^<class '(.*)'>$", r"\1", kind.replace("typing.", ""))
    if kind.endswith(".FirstThen"):
        return "{first: 0.1, then: 0.05}"
    within = re.fullmatch(r"(Literal|list|dict)(?:\[(.*)\])?", kind)
    if within is None:
        return _KINDS.get(kind, kind)
    outer, inner = within.groups()
    if outer == "Literal":
        return inner.replace(", ", " or ")
    if outer == "dict":
        return "names with values, {name: value}"
    return f"a list of {_MANY[inner]}" if inner in _MANY else "a list"


def parser_for(system: Registered, **kwargs: Any) -> LineParser:
    """A parser with `--config`, `--system` and one option for each field of the system's configuration."""
    parser = LineParser(**kwargs)
    parser.add_argument("--config", action="config", help="YAML file with overrides of the defaults.")
    names = f"{', '.join(BUILT_IN)}, or package.module for one of your own"
    parser.add_argument("--system", type=str, default=system.name, help=f"what is trained: {names}.")
    parser.add_class_arguments(system.config)
    return parser


def system_named(argv: Sequence[str]) -> Registered:
    """Which system a command line is about: its `--system`, that of its `--config` file, or the default one.

    Raises:
        UsageError: a file that cannot be read, or a name there is no system of.
    """
    probe = LineParser(add_help=False)
    probe.add_argument("--config", type=str)
    probe.add_argument("--system", type=str)
    known = [
        argument
        for index, argument in enumerate(argv)
        if argument.startswith(("--config", "--system")) or (index and argv[index - 1] in ("--config", "--system"))
    ]
    given = probe.parse_args(known)
    of_file = None if given.config is None else _read_yaml(Path(given.config)).get("system")
    if None not in (given.system, of_file) and given.system != of_file:
        raise UsageError(f"{given.config} configures the system {of_file}, `--system` says {given.system}.")
    name = given.system or of_file or DEFAULT_SYSTEM
    try:
        return registered(str(name))
    except ValueError as error:
        raise UsageError(str(error)) from error


def instantiate(parser: ArgumentParser, settings: Namespace, system: Registered) -> RunConfig:
    """The configuration that `settings` describe.

    Raises:
        UsageError: a combination that the configuration refuses.
    """
    try:
        made = parser.instantiate(settings)
        return system.config(**{field.name: made[field.name] for field in fields(system.config)})
    except (TypeError, ValueError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def _files_first(argv: Sequence[str]) -> list[str]:
    """The same options with files before all others, so that what the command line says holds wherever it stands."""
    files, rest = list[str](), list[str]()
    left = list(argv)
    while left:
        word = left.pop(0)
        if word == "--config" and left:
            files += [word, left.pop(0)]
        else:
            (files if word.startswith("--config=") else rest).append(word)
    return files + rest


def read_settings(parser: ArgumentParser, argv: Sequence[str], *options: type) -> Namespace:
    """Parses, with every failure as one line.

    Args:
        parser: what there is to say.
        argv: what is said.
        *options: the dataclasses that files describe.

    Raises:
        UsageError: unknown option, wrong type, missing or malformed file.
    """
    for path in _config_files(argv):
        _require_groups(_read_yaml(path), path, options)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return parser.parse_args(_files_first(argv))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(" ".join(str(error).split())) from error


def _config_files(argv: Sequence[str]) -> list[Path]:
    files = [argument.partition("=")[2] for argument in argv if argument.startswith("--config=")]
    files += [argv[index + 1] for index, argument in enumerate(argv[:-1]) if argument == "--config"]
    return [Path(file) for file in files]


def _require_groups(content: dict[str, Any], path: Path, options: Sequence[type]) -> None:
    """Refuses a group of options that is not written as one, which the parser would report in its own terms."""
    groups = {field.name for part in options for field in fields(part) if is_dataclass(field.type)}
    for name in groups & content.keys():
        if not isinstance(content[name], dict):
            raise UsageError(f"configuration {path}: {name!r} must hold names and values, got {content[name]!r}.")
        for inner in ("arguments", "held_out", "vector_arguments"):
            if not isinstance(content[name].get(inner, {}), dict):
                raise UsageError(f"configuration {path}: '{name}.{inner}' must hold names and values.")


def dump_config(system: str, config: RunConfig) -> str:
    """The system's name and all fields as YAML that reads back to the same configuration."""
    content = {"system": system, **config_to_dict(config)}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def load_config(path: Path) -> tuple[Registered, RunConfig]:
    """The system and the configuration that a run folder's file describes.

    Raises:
        UsageError: the file is missing, malformed, or of an unknown system.
    """
    argv = ["--config", str(path)]
    system = system_named(argv)
    parser = parser_for(system)
    return system, instantiate(parser, read_settings(parser, argv, system.config), system)


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain containers."""
    return asdict(config)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"configuration {path} cannot be read: {reason}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"configuration {path} is not YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise UsageError(f"configuration {path} must hold names and values, got {type(content).__name__}.")
    return content or {}
