"""What several configurations say in the same words: devices, objectives, and checks of single values."""

from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray

from maml_rl.core.objectives import Objective, annealed, final, uniform, weighted
from maml_rl.core.schedules import Schedule, constant, cosine

__all__ = [
    "changed_in_vain",
    "device_of",
    "generator_of",
    "lateness_at",
    "objective_at",
    "require",
    "require_objective",
    "require_weights",
    "schedule_between",
    "seeds_of",
]


def device_of(name: str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: there is no such device here.
    """
    machine, _, index = name.partition(":")
    if machine not in ("cpu", "cuda") or not (index.isdigit() or not index) or (machine == "cpu" and index):
        raise ValueError(f"`device` must be 'cpu', 'cuda' or 'cuda:N', got {name!r}.")
    if machine == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(f"`device` is {name!r}, but this PyTorch ({torch.__version__}) finds no such CUDA device.")
    return torch.device(name)


def generator_of(seed: int, *stream: int) -> torch.Generator:
    """A generator on the CPU for one of a run's streams of random numbers, and for a place in it."""
    (word,) = SeedSequence([seed, *stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def seeds_of(seed: int, count: int) -> NDArray[np.int64]:
    """Seeds of so many trainings or lifetimes, from 0 to 2^62, [count]."""
    return (SeedSequence(seed).generate_state(count, np.uint64) >> np.uint64(2)).astype(np.int64)


def schedule_between(first: float, last: float | None, iterations: int) -> Schedule:
    """From the first learning rate to the last one along a cosine; the first one throughout where there is no other."""
    return constant(first) if last is None else cosine(first, last, iterations)


def lateness_at(objective: str, moment: int, annealing: int) -> float:
    """How much the end of a lifetime counts alone: 0 where its steps count alike ("uniform"), 1 for its end ("final"),
    and from the one to the other along a line ("annealed").

    Args:
        objective: see above.
        moment: the iteration.
        annealing: iterations that "annealed" takes.
    """
    return {"uniform": 0.0, "final": 1.0, "annealed": min(moment / annealing, 1.0)}[objective]


def objective_at(name: str | Sequence[float], moment: int, annealing: int) -> Objective:
    """The meta-objective of a configuration.

    Args:
        name: "final", "uniform", "annealed", or the weights of all points.
        moment: the iteration or the epoch, in whichever `annealing` counts.
        annealing: after how many of them the annealed objective is the final one.
    """
    if not isinstance(name, str):
        return weighted(name)
    return annealed(moment, annealing) if name == "annealed" else {"final": final, "uniform": uniform}[name]()


def require_weights(name: str | Sequence[float]) -> None:
    """Raises `ValueError` where an objective is a list of weights and they are none."""
    try:
        objective_at(name, 0, 0)
    except ValueError as error:
        raise ValueError(f"`outer.objective`: {error}") from None


def require_objective(name: str | Sequence[float], annealing: int, steps: int) -> None:
    """Raises `ValueError` unless the objective goes with so many inner steps."""
    try:
        objective_at(name, 0, annealing).points(steps)
    except ValueError as error:
        raise ValueError(f"`outer.objective` does not go with `inner.steps` {steps}: {error}") from None


def require(name: str, holds: bool, expected: str, got: Any) -> None:
    """Raises `ValueError` unless the value `holds`."""
    if not holds:
        raise ValueError(f"`{name}` must be {expected}, got {got}.")


def changed_in_vain(section: str, config: Any, names: Sequence[str], chosen: str) -> list[str]:
    """A remark for each of the options that is set although it has no effect with what is `chosen`."""
    return [
        f"`{section}.{option.name}` {getattr(config, option.name)} has no effect with {chosen}."
        for option in fields(config)
        if option.name in names and getattr(config, option.name) != _default_of(option)
    ]


def _default_of(option: Field[Any]) -> Any:
    """A configuration field's default value."""
    return option.default_factory() if callable(option.default_factory) else option.default
