"""How a script ends: a wrong request is one line and exit code 2, a fault while running one line and 1."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, get_args, get_origin

from maml_rl.run.config import LineParser, read_settings
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.memory import keep_freed_memory

__all__ = ["exit_code", "option_of", "refused_in_one_line", "settings_of"]


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


def option_of(argv: Sequence[str], name: str) -> str | None:
    """What a command line says of one option, before it is known which others there are."""
    given = [word.partition("=")[2] for word in argv if word.startswith(f"--{name}=")]
    given += [after for option, after in pairwise(argv) if option == f"--{name}"]
    return given[-1] if given else None


def settings_of(options: type | tuple[type, ...], argv: Sequence[str], description: str) -> Any:
    """A script's options, a dataclass or several, from its command line and YAML files given by --config.

    A list is written as `--steps 0 1 3` or as `--steps '[0, 1, 3]'`.

    Raises:
        UsageError: unknown option, wrong type, refused value.
    """
    parser = LineParser(description=description)
    parser.add_argument("--config", action="config", help="YAML file with these options.")
    classes = options if isinstance(options, tuple) else (options,)
    for part in classes:
        parser.add_class_arguments(part)
    settings = parser.instantiate(read_settings(parser, _gathered(argv, classes), *classes))
    try:
        made = tuple(part(**{field.name: settings[field.name] for field in fields(part)}) for part in classes)
    except (TypeError, ValueError) as error:
        raise UsageError(" ".join(str(error).split())) from error
    return made if isinstance(options, tuple) else made[0]


def _gathered(argv: Sequence[str], classes: Sequence[type]) -> list[str]:
    """`--steps 0 1 3` as `--steps=[0, 1, 3]`, the list that the parser reads."""
    options = [field for part in classes for field in fields(part)]
    entries = {f"--{option.name}": entry for option in options if (entry := _entries(option.type)) is not None}
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
    """What a list has in it; None for what is no list. Looks into `list[...] | None`."""
    lists = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is list]
    return get_args(lists[0])[0] if lists else None


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Turns a `ValueError` of a `with` block, what a system says of a wrong request, into a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
