"""How a script ends: a wrong request is one line and exit code 2, a fault while running one line and 1."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args, get_origin

from maml_rl.run.config import LineParser, read_settings
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.memory import keep_freed_memory

__all__ = ["build_system", "exit_code", "settings_of"]


def exit_code(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Runs `main` and turns its failures into a line on standard error and an exit code."""
    keep_freed_memory()
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # modules of one's own are found in the working folder, behind all others
    try:
        return main(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunFault as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130
    except MemoryError as error:
        print(f"error: out of memory: {error}", file=sys.stderr)
        return 1


def settings_of(options: type, argv: Sequence[str], description: str) -> Any:
    """A script's options, a dataclass, from its command line and YAML files given by --config.

    A list is written as `--steps 0 1 3` or as `--steps '[0, 1, 3]'`.

    Raises:
        UsageError: unknown option, wrong type, refused value.
    """
    parser = LineParser(description=description)
    parser.add_argument("--config", action="config", help="YAML file with these options.")
    parser.add_class_arguments(options)
    names = list(options.__dataclass_fields__)  # type: ignore[attr-defined]
    settings = parser.instantiate(read_settings(parser, _gathered(argv, options)))
    try:
        return options(**{name: settings[name] for name in names})
    except (TypeError, ValueError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def _gathered(argv: Sequence[str], options: type) -> list[str]:
    """`--steps 0 1 3` as `--steps=[0, 1, 3]`, the list that the parser reads."""
    kinds = {f"--{field.name}": kind for field in fields(options) if (kind := _entries(field.type)) is not None}
    result, left = list[str](), list(argv)
    while left:
        name = left.pop(0)
        values = list(takewhile(lambda word: not word.startswith("--"), left)) if name in kinds else []
        if values and not values[0].startswith("["):
            words = map(json.dumps, values) if kinds[name] is str else values
            result.append(f"{name}=[{', '.join(words)}]")
            del left[: len(values)]
        else:
            result.append(name)
    return result


def _entries(kind: Any) -> Any:
    """What a list has in it; None for what is no list. Looks into `list[...] | None`."""
    lists = [part for part in (kind, *get_args(kind)) if get_origin(part) is list]
    return get_args(lists[0])[0] if lists else None


def build_system(constructor: Callable[[Any], Any], config: Any) -> Any:
    """The system of a configuration.

    Raises:
        UsageError: an environment or a device there is none of, or a combination the system refuses.
    """
    try:
        return constructor(config)
    except ValueError as error:
        raise UsageError(str(error)) from error
