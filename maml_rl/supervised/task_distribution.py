"""The protocol of a distribution of supervised tasks, and how a configuration names one."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.supervised.losses import CRITERIA, Problem

__all__ = ["BUILT_IN", "DistributionConfig", "Labelled", "Split", "TaskBatch", "TaskDistribution", "distribution_for"]

Split = Literal["train", "validation", "test"]

BUILT_IN = {
    "sinusoid": "maml_rl.supervised.sinusoid:Sinusoid",
    "omniglot": "maml_rl.supervised.omniglot:omniglot",
    "mini_imagenet": "maml_rl.supervised.class_folders:mini_imagenet",
    "class_folders": "maml_rl.supervised.class_folders:class_folders",
}
"""Short names of this project's distributions; others are named ``module:Class``."""


class Labelled(NamedTuple):
    """Examples and what belongs to them: inputs [N, E, ...]; targets [N, E, outputs], or class indices [N, E]."""

    inputs: Tensor
    targets: Tensor


class TaskBatch(NamedTuple):
    """N tasks: what to adapt on, what to be judged on, and what is known of each task.

    Attributes:
        support: the examples of the inner steps.
        query: the examples of the meta-objective.
        parameters: arrays [N, ...] that describe the tasks, for files and figures.
    """

    support: Labelled
    query: Labelled
    parameters: dict[str, NDArray[Any]]


class TaskDistribution(Protocol):
    """What a distribution of supervised tasks has; any class with these members is one.

    A regression of one number from one may also have ``curves(parameters, points)``, which gives places [points] and
    the `Labelled` examples there, [N, points, ...], of the tasks that `TaskBatch.parameters` describe: evaluation
    then draws the fitted curves.

    Attributes:
        problem: "regression" is judged by the mean squared error, "classification" by the accuracy.
        input_shape: of one example.
        outputs: numbers predicted, or classes told apart.
    """

    problem: Problem
    input_shape: tuple[int, ...]
    outputs: int

    def sample(self, generator: np.random.Generator, tasks: int, support: int, query: int, split: Split) -> TaskBatch:
        """Draws tasks of a split, with `support` and `query` examples (for each class, in classification)."""


@dataclass(frozen=True)
class DistributionConfig:
    """Which tasks.

    Attributes:
        id: "sinusoid", "omniglot", "mini_imagenet", "class_folders", or "module:Class" for one of your own.
        arguments: of its constructor.
    """

    id: str = "sinusoid"
    arguments: dict[str, Any] = field(default_factory=dict)


def distribution_for(
    config: DistributionConfig, folder: str | None, device: torch.device, dtype: torch.dtype
) -> "Placed":
    """The distribution that a configuration names.

    Args:
        config: its name and arguments.
        folder: handed to the constructor as `folder`, if given.
        device: where the tasks are wanted.
        dtype: of inputs and regression targets.

    Raises:
        ValueError: there is none of this name, or its constructor refuses the arguments or the data.
    """
    constructor, arguments = _named(config.id), dict(config.arguments)
    known = _parameters(constructor)
    if folder is not None:
        if "folder" not in known:
            raise ValueError(f"`data` does not go with the distribution {config.id!r}, which takes no `folder`.")
        arguments["folder"] = folder
    try:
        distribution = constructor(**arguments)
    except Exception as error:  # whatever a constructor of somebody else's may raise
        told = str(error) if isinstance(error, (OSError, TypeError, ValueError)) else f"{type(error).__name__}: {error}"
        raise ValueError(f"distribution {config.id!r}: {told}") from error
    missing = [name for name in ("problem", "input_shape", "outputs", "sample") if not hasattr(distribution, name)]
    if missing:
        raise ValueError(f"distribution {config.id!r} lacks {', '.join(missing)} (see TaskDistribution).")
    if distribution.problem not in CRITERIA:
        problems = " or ".join(map(repr, CRITERIA))
        raise ValueError(f"distribution {config.id!r}: `problem` must be {problems}, got {distribution.problem!r}.")
    shape = distribution.input_shape
    if not isinstance(shape, (tuple, list)) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"distribution {config.id!r}: `input_shape` must be a tuple of sizes, got {shape!r}.")
    return Placed(distribution, config.id, device, dtype, _with_defaults(known, config.arguments))


class Placed:
    """A distribution whose tasks are checked, and moved to a device and precision.

    Attributes:
        arguments: what made it, but for the place of its data.
        criterion: how predictions are judged.
        input_shape: of one example.
        outputs: numbers predicted, or classes told apart.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        arguments: dict[str, Any],
    ) -> None:
        self.distribution, self.name, self.arguments = distribution, name, arguments
        self.device, self.dtype = device, dtype
        self.criterion, self.outputs = CRITERIA[distribution.problem], distribution.outputs
        self.input_shape = tuple(distribution.input_shape)

    def sample(self, generator: np.random.Generator, tasks: int, support: int, query: int, split: Split) -> TaskBatch:
        """As `TaskDistribution.sample`.

        Raises:
            ValueError: the distribution returned something else than it announces.
        """
        try:
            batch = self.distribution.sample(generator, tasks, support, query, split)
        except ValueError:
            raise
        except Exception as error:  # whatever somebody else's may raise
            raise ValueError(f"{self.name}: `sample` failed: {type(error).__name__}: {error}") from error
        if not isinstance(batch, TaskBatch):
            raise ValueError(f"{self.name}: `sample` must return a TaskBatch, got {type(batch).__name__}.")
        parameters = {name: np.asarray(values) for name, values in batch.parameters.items()}
        for name, values in parameters.items():
            if values.shape[:1] != (tasks,):
                raise ValueError(f"{self.name}: parameter {name!r} must be [N, ...], N = {tasks}, got {values.shape}.")
        return TaskBatch(
            self._placed(batch.support, tasks, support, "support"),
            self._placed(batch.query, tasks, query, "query"),
            parameters,
        )

    def _placed(self, part: Labelled, tasks: int, shots: int, name: str) -> Labelled:
        if not (isinstance(part, Labelled) and all(isinstance(half, Tensor) for half in part)):
            raise ValueError(f"{self.name}: {name} must be a Labelled of two tensors.")
        inputs, targets = part.inputs, part.targets
        classes = self.criterion.class_targets
        expected = (tasks, shots * (self.outputs if classes else 1), *self.input_shape)
        if tuple(inputs.shape) != expected:
            raise ValueError(f"{self.name}: {name} inputs must be [N, E, ...] = {expected}, got {tuple(inputs.shape)}.")
        wanted = expected[:2] if classes else (*expected[:2], self.outputs)
        if tuple(targets.shape) != wanted:
            raise ValueError(f"{self.name}: {name} targets must be {wanted}, got {tuple(targets.shape)}.")
        if classes and not (int(targets.min()) >= 0 and int(targets.max()) < self.outputs):
            raise ValueError(f"{self.name}: {name} targets must be classes 0 to {self.outputs - 1}.")
        if classes and (targets.is_floating_point() or targets.is_complex()):
            raise ValueError(f"{self.name}: {name} targets must be whole numbers, got {targets.dtype}.")
        dtype = torch.long if classes else self.dtype
        return Labelled(inputs.to(self.device, self.dtype), targets.to(self.device, dtype))


def _parameters(constructor: Callable[..., TaskDistribution]) -> Mapping[str, inspect.Parameter]:
    """Those of its signature, if it has one."""
    try:
        return inspect.signature(constructor).parameters
    except (TypeError, ValueError):
        return {}


def _with_defaults(known: Mapping[str, inspect.Parameter], arguments: dict[str, Any]) -> dict[str, Any]:
    """All arguments that say what the tasks are: where the data lie does not."""
    defaults = {name: each.default for name, each in known.items() if each.default is not inspect.Parameter.empty}
    return {name: value for name, value in {**defaults, **arguments}.items() if name not in ("folder", "download")}


def _named(name: str) -> Callable[..., TaskDistribution]:
    path = BUILT_IN.get(name, name)
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"there is no distribution {name!r}; there are {', '.join(BUILT_IN)}, or 'module:Class'.")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a module may raise
        told = str(error) if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: {error}"
        raise ValueError(f"distribution {name!r} cannot be imported: {told}.") from error
