"""How a script reads its options, and how it ends: a wrong request is one line and exit code 2, a fault one and 1."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.memory import keep_freed_memory
from maml_rl.run.parser import LineParser

__all__ = ["exit_code", "refused_in_one_line", "settings_of", "settings_of_each"]

OptionsT = TypeVar("OptionsT")


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


def settings_of(options: type[OptionsT], argv: Sequence[str], description: str) -> OptionsT:
    """A script's options, a dataclass, from its command line and YAML files given by --config.

    A list is written as `--steps 0 1 3` or as `--steps '[0, 1, 3]'`.

    Raises:
        UsageError: unknown option, wrong type, refused value.
    """
    (settings,) = settings_of_each([options], argv, description)
    return settings


def settings_of_each(options: Sequence[type], argv: Sequence[str], description: str) -> list[Any]:
    """The same of several dataclasses, whose options stand side by side."""
    parser = LineParser(description=description)
    parser.add_argument("--config", action="config", help="YAML file with these options.")
    for part in options:
        parser.add_dataclass(part)
    return parser.made(parser.read(_gathered(argv, options)))


def _gathered(argv: Sequence[str], options: Sequence[type]) -> list[str]:
    """`--steps 0 1 3` as `--steps=[0, 1, 3]`, the list that the parser reads."""
    annotations = {name: annotation for part in options for name, annotation in get_type_hints(part).items()}
    names = [field.name for part in options for field in fields(part)]
    entries = {f"--{name}": entry for name in names if (entry := _entries(annotations[name])) is not None}
    result, left = list[str](), list(argv)
    while left:
        name = left.pop(0)
        values = list(takewhile(lambda word: not word.startswith("--"), left)) if name in entries else []
        if values and not values[0].startswith("["):
            words = map(json.dumps, values) if entries[name] is str else values
            result.append(f"{name}=[{', '.join(words)}]")
            del left[: len(values)]
        else:
            result.append(name)
    return result


def _entries(annotation: Any) -> Any:
    """The type of a list's entries; None for what is no list. Looks into `list[...] | None`."""
    lists = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is list]
    return get_args(lists[0])[0] if lists else None


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Turns a `ValueError` of a `with` block, what a system says of a wrong request, into a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
