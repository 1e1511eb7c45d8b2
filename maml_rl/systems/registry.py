"""Systems by name: this package's own, and modules from elsewhere."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from maml_rl.systems.evaluation import EvaluationOptions, Measure
from maml_rl.systems.system import MetricRoles, RunConfig, System

__all__ = ["BUILT_IN", "Registered", "registered"]

BUILT_IN = (
    "learned_optimiser",
    "maml",
    "maml_trpo",
    "meta_gradient",
    "optimiser_search",
    "promp",
    "reptile",
    "rl2",
    "synaptic_rule",
)
"""Modules of `maml_rl.systems`; a name with a dot is a module of one's own."""


class Registered(NamedTuple):
    """A module that is a system.

    Attributes:
        name: as configurations have it.
        config: its configuration, a dataclass.
        system: makes the system of a configuration.
        options: of its evaluation.
    """

    name: str
    config: type[RunConfig]
    system: Callable[[Any], System[Any, Any]]
    options: type[EvaluationOptions]

    def make(self, config: RunConfig) -> System[Any, Any]:
        """The system of a configuration, with the threads of arithmetic that it asks for.

        Raises:
            ValueError: the system refuses the configuration, or lacks something that every system has.
        """
        torch.set_num_threads(config.torch_threads)
        system = self.system(config)
        lacking = [name for name in ("config", "measure", "roles", "tasks_name") if not hasattr(system, name)]
        if lacking:
            raise ValueError(f"system {self.name!r}: `System` lacks {', '.join(lacking)}.")
        for name, expected in (("measure", Measure), ("roles", MetricRoles)):
            if not isinstance(getattr(system, name), expected):
                raise ValueError(
                    f"system {self.name!r}: `{name}` of `System` must be a {expected.__name__}, got "
                    f"{getattr(system, name)!r}."
                )
        return system


def registered(name: str) -> Registered:
    """The system of a name: ``maml_trpo``, or ``package.module`` for one of your own.

    Raises:
        ValueError: there is no such module, or it is not a system.
    """
    if name not in BUILT_IN and "." not in name:
        raise ValueError(
            f"there is no system {name!r}; there are {', '.join(BUILT_IN)}, and 'package.module' for one of your own."
        )
    path = f"maml_rl.systems.{name}" if name in BUILT_IN else name
    try:
        module = importlib.import_module(path)
    except Exception as error:  # whatever a module from elsewhere may raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"system {name!r} cannot be imported: {reason}") from error
    config: Any = getattr(module, "Config", None)
    system: Any = getattr(module, "System", None)
    if not _is_dataclass_of(config, RunConfig):
        raise ValueError(f"system {name!r}: the module must have a dataclass `Config` that extends RunConfig.")
    if not (inspect.isclass(system) and System in system.__mro__):
        raise ValueError(f"system {name!r}: the module must have a class `System` that extends the System protocol.")
    lacking = sorted(getattr(system, "__abstractmethods__", ()))
    if lacking:
        raise ValueError(f"system {name!r}: `System` lacks {', '.join(lacking)}.")
    options: Any = getattr(system, "Options", EvaluationOptions)
    if not _is_dataclass_of(options, EvaluationOptions):
        raise ValueError(
            f"system {name!r}: `Options` of `System` must be a dataclass that extends EvaluationOptions, got {options}."
        )
    return Registered(name, config, module.System, options)


def _is_dataclass_of(candidate: Any, base: type) -> bool:
    """Whether it is a class that extends `base` and is a dataclass itself, not only by what it extends."""
    return inspect.isclass(candidate) and issubclass(candidate, base) and "__dataclass_fields__" in vars(candidate)
