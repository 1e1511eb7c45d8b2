"""How a script ends: a wrong request is one line and exit code 2, a fault while running one line and 1."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from maml_rl.run.config import LineParser, read_settings
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.memory import keep_freed_memory

__all__ = ["build_system", "exit_code", "settings_of"]


def exit_code(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Runs `main` and turns its failures into a line on standard error and an exit code."""
    keep_freed_memory()
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

    Raises:
        UsageError: unknown option, wrong type, refused value.
    """
    parser = LineParser(description=description)
    parser.add_argument("--config", action="config", help="YAML file with these options.")
    parser.add_class_arguments(options)
    names = list(options.__dataclass_fields__)  # type: ignore[attr-defined]
    settings = parser.instantiate(read_settings(parser, argv))
    try:
        return options(**{name: settings[name] for name in names})
    except (TypeError, ValueError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def build_system(constructor: Callable[[Any], Any], config: Any) -> Any:
    """The system of a configuration.

    Raises:
        UsageError: an environment or a device there is none of, or a combination the system refuses.
    """
    try:
        return constructor(config)
    except ValueError as error:
        raise UsageError(str(error)) from error
