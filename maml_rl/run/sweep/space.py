"""What is searched: for each name of a configuration the choices or the range of its values."""

import json
import math
from collections.abc import Mapping
from itertools import product
from typing import Any

__all__ = ["grid", "plain", "require_range", "written"]


def require_range(name: str, values: Mapping[str, list[Any]], sampler: str) -> None:
    """Raises `ValueError` unless `values` describe what can be searched."""
    if len(values) != 1 or not values.keys() <= {"choice", "uniform", "log_uniform", "integer"}:
        raise ValueError(f"`space`: {name} must have one of choice, uniform, log_uniform, integer, got {dict(values)}.")
    ((scale, entries),) = values.items()
    if scale == "choice":
        if not entries or len(set(map(written, entries))) < len(entries):
            raise ValueError(f"`space`: {name} must have one or more different choices, got {entries}.")
        return
    number = int if scale == "integer" else (int, float)
    numbers = [entry for entry in entries if isinstance(entry, number) and not isinstance(entry, bool)]
    if len(numbers) != 2 or len(entries) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        whole = "whole " if scale == "integer" else ""
        raise ValueError(f"`space`: {name} must have two {whole}numbers, low and high, got {entries}.")
    if scale == "log_uniform" and numbers[0] <= 0:
        raise ValueError(f"`space`: {name} is searched on a logarithmic scale, so it must be positive, got {entries}.")
    if sampler == "grid" and scale != "integer":
        raise ValueError(f"`space`: a grid needs choices or integers, {name} has {scale}.")


def grid(space: Mapping[str, Mapping[str, list[Any]]]) -> list[dict[str, Any]]:
    """All points, the last name varying fastest."""
    names = sorted(space)
    axes: list[list[Any]] = []
    for name in names:
        ((scale, entries),) = space[name].items()
        axes.append([*range(entries[0], entries[1] + 1)] if scale == "integer" else list(map(plain, entries)))
    return [dict(zip(names, point, strict=True)) for point in product(*axes)]


def plain(choice: Any) -> Any:
    """Optuna's choices are single values, so a list is one in writing, which configurations read as well."""
    return json.dumps(choice) if isinstance(choice, (list, dict)) else choice


def written(value: Any) -> str:
    """As a command line has it."""
    return value if isinstance(value, str) else json.dumps(value)
