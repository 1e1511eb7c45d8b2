"""What several configurations say in the same words: devices, objectives, and checks of single values."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from maml_rl.core.objectives import Objective, final, uniform, weighted

__all__ = ["device_of", "objective_of", "require", "require_default"]


def device_of(name: str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: there is no such device here.
    """
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or not (index.isdigit() or not index) or (kind == "cpu" and index):
        raise ValueError(f"`device` must be 'cpu', 'cuda' or 'cuda:N', got {name!r}.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(f"`device` is {name!r}, but this PyTorch ({torch.__version__}) finds no such CUDA device.")
    return torch.device(name)


def objective_of(name: str | Sequence[float]) -> Objective:
    """The meta-objective of a configuration."""
    if isinstance(name, str):
        return {"final": final, "uniform": uniform}[name]()
    return weighted(name)


def require(name: str, holds: bool, expected: str, got: Any) -> None:
    """Raises `ValueError` unless the value `holds`."""
    if not holds:
        raise ValueError(f"`{name}` must be {expected}, got {got}.")


def require_default(section: str, config: Any, names: Sequence[str], chosen: str) -> None:
    """Raises `ValueError` if one of the options is set although it has no effect with what is `chosen`."""
    for option in fields(config):
        value = getattr(config, option.name)
        if option.name in names and value != option.default:
            raise ValueError(f"`{section}.{option.name}` {value} has no effect with the {chosen}; leave it out.")
