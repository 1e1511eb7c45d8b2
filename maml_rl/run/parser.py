"""From a command line and YAML files to frozen dataclasses; whatever is refused is one line."""

import argparse
import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from maml_rl.run.errors import UsageError

__all__ = ["LineParser", "early_options", "read_yaml"]


class LineParser(ArgumentParser):  # type: ignore[misc]
    """A parser with `--config` and an option for each field of some dataclasses, whose errors are `UsageError`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "exit_on_error": False, **kwargs})
        self.dataclasses: list[type] = []

    def add_dataclass(self, options: type) -> None:
        """Adds an option for each field; in the help they are a group, which needs a name that no other group has."""
        named_alike = any(other.__name__ == options.__name__ for other in self.dataclasses)
        self.dataclasses.append(options)
        self.add_class_arguments(options, as_group=not named_alike)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises instead of printing the usage of all options."""
        raise UsageError(_in_plain_words(" ".join(str(message).split()), self.dataclasses)) from ex

    def read(self, argv: Sequence[str]) -> Namespace:
        """What files and the command line say; of an option that both name, the command line's word holds.

        Raises:
            UsageError: unknown option, wrong type, missing or malformed file.
        """
        given, rest = early_options(argv, "config")
        files = []
        for path in map(Path, given["config"]):
            content = read_yaml(path)
            for options in self.dataclasses:
                _require_values(content, options, f"configuration {path}: ")
            files += [f"--config={path}"] if content else []
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return self.parse_args([*files, *rest])
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(" ".join(str(error).split())) from error

    def made(self, settings: Namespace) -> list[Any]:
        """The dataclasses that `settings` describe.

        Raises:
            UsageError: values that one of them refuses.
        """
        try:
            values = self.instantiate(settings)
            return [
                options(**{field.name: values[field.name] for field in fields(options)}) for options in self.dataclasses
            ]
        except (TypeError, ValueError) as error:
            raise UsageError(" ".join(str(error).split())) from error


def early_options(argv: Sequence[str], *names: str) -> tuple[dict[str, list[str]], list[str]]:
    """What a command line says of some options, before it is known which others there are, and the words that remain.

    Raises:
        UsageError: one of them without a value.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in names:
        parser.add_argument(f"--{name}", action="append", default=[])
    try:
        given, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    return vars(given), rest


def read_yaml(path: Path) -> dict[str, Any]:
    """The names and values in a file; none in an empty one.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
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


def _require_values(content: Mapping[str, Any], options: type, where: str, prefix: str = "") -> None:
    """Refuses a null, and a single value in place of a group of options, which the parser lets pass in a file."""
    for name, annotation in get_type_hints(options).items():
        if name not in content:
            continue
        value, grouped = content[name], is_dataclass(annotation) or get_origin(annotation) is dict
        if grouped and not isinstance(value, Mapping):
            got = "null" if value is None else repr(value)
            raise UsageError(f"{where}`{prefix}{name}` must hold names and values, got {got}.")
        if value is None and annotation is not Any and NoneType not in get_args(annotation):
            raise UsageError(f"{where}`{prefix}{name}` must be {_in_words(annotation)}, got null.")
        if isinstance(annotation, type) and is_dataclass(annotation):
            _require_values(value, annotation, where, f"{prefix}{name}.")


def _in_plain_words(message: str, dataclasses: Sequence[type]) -> str:
    """Of a value that does not fit, what its field takes, without the parser's account of each type that it tried."""
    if message.startswith("unrecognized arguments"):
        return f"{message}; --help lists those there are."
    refused = re.match(r'Parser key "([\w.]+)": .*(?:Got|Given) value: (.*)$', message)
    if refused is None:
        return message
    name, value = refused[1], "null" if refused[2] == "None" else refused[2]
    annotations = [annotation for options in dataclasses if (annotation := _annotation(options, name)) is not None]
    return f"`{name}` must be {_in_words(annotations[0])}, got {value}." if annotations else message


def _annotation(options: Any, name: str) -> Any:
    """The type of the field that a dotted name leads to; None where it leads nowhere."""
    for part in name.split("."):
        options = get_type_hints(options).get(part) if is_dataclass(options) else None
    return options


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "words"}


def _in_words(annotation: Any) -> str:
    """A type as somebody who writes a configuration would call it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is list:
        return f"a list of {_PLURALS[arguments[0]]}" if arguments[0] in _PLURALS else "a list"
    if is_dataclass(annotation):
        return "{" + ", ".join(f"{field.name}: ..." for field in fields(annotation)) + "}"
    return "names with values, {name: value}" if origin is dict else _WORDS.get(annotation, str(annotation))
