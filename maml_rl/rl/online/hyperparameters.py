"""Hyper-parameters of a learner as meta-parameters: numbers, tables or networks, each through a sigmoid."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Generator, Tensor

from maml_rl.core.initialisation import linear_layers
from maml_rl.core.types import Meta, Params
from maml_rl.rl.policies import perceptron

__all__ = ["FIXED", "Hyperparameter", "HyperparameterConfig", "hyperparameter", "require_form", "settings_of"]

FIXED = "fixed"
"""The group of those that are not learned, by name."""

Form: TypeAlias = Literal["no", "one", "table", "state", "rewards"]


@dataclass(frozen=True)
class HyperparameterConfig:
    """A hyper-parameter of the learner.

    Attributes:
        initial: where it starts. Several values are settings that are tried side by side.
        learned: "no" keeps it as it is; "one" learns a number; "table" a number for each state, where observations are
            one-hot; "state" a network of the observation; "rewards" a network of the mean rewards of the last rollouts
            (Flennerhag et al., 2021).
        limit: a learned one is limit * sigmoid(x), and so between 0 and the limit (Xu et al., 2018: 1).
        hidden: units of the network's hidden layers.
    """

    initial: float | list[float] = 0.5
    learned: Form = "no"
    limit: float = 1.0
    hidden: list[int] = field(default_factory=lambda: [32])

    def require(self, name: str) -> None:
        """Raises `ValueError`, with the hyper-parameter's name, where numbers make no sense."""
        if not self.values:
            raise ValueError(f"`{name}.initial` must be a number or several, got an empty list.")
        if not all(0 <= value < math.inf for value in self.values):
            raise ValueError(f"`{name}.initial` must be finite and at least 0, got {self.initial}.")
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"`{name}.initial` must not have the same value twice, got {self.initial}.")
        if not 0 < self.limit < math.inf:
            raise ValueError(f"`{name}.limit` must be positive and finite, got {self.limit}.")
        if self.learned != "no" and not all(0 < value < self.limit for value in self.values):
            raise ValueError(
                f"`{name}.initial` of a learned one must be between 0 and `limit` {self.limit}, both excluded, got "
                f"{self.initial}."
            )
        if not all(units > 0 for units in self.hidden):
            raise ValueError(f"`{name}.hidden` must be positive numbers, got {self.hidden}.")

    @property
    def values(self) -> list[float]:
        """Where it starts, in each setting."""
        return list(self.initial) if isinstance(self.initial, Sequence) else [self.initial]


class Hyperparameter(NamedTuple):
    """A hyper-parameter as a function of meta-parameters and of what the learner sees.

    Attributes:
        name: of the meta-parameters' group.
        form: as in its configuration.
        start: ``start(value, generator, dtype)`` are meta-parameters of its group with which it starts near `value`;
            empty where it is not learned.
        value: ``value(theta, observations, rewards)`` for observations [..., O] and the mean rewards of the last
            rollouts [W]: a number, or one for each observation, [...].
        reported: ``reported(theta, observations, rewards)`` is what its course is told by: a number, or a table's
            entries [O].
    """

    name: str
    form: Form
    start: Callable[[float, Generator, torch.dtype], Params]
    value: Callable[[Meta, Tensor, Tensor], Tensor]
    reported: Callable[[Meta, Tensor, Tensor], Tensor]


def hyperparameter(name: str, config: HyperparameterConfig, observations: int, window: int) -> Hyperparameter:
    """The hyper-parameter of a configuration.

    Args:
        name: of its group, and of its value in the group of fixed ones.
        config: what it is.
        observations: O, their size.
        window: W, rollouts whose mean rewards it sees.

    Raises:
        ValueError: the configuration has numbers that make no sense.
    """
    config.require(name)
    sizes = [window if config.learned == "rewards" else observations, *config.hidden, 1]

    def bounded(logits: Tensor) -> Tensor:
        return config.limit * torch.sigmoid(logits)

    def network(params: Params, inputs: Tensor) -> Tensor:
        return bounded(perceptron(params, inputs, len(sizes) - 1, torch.relu)[..., 0])

    def start(value: float, generator: Generator, dtype: torch.dtype) -> Params:
        if config.learned == "no":
            return {}
        logit = math.log(value) - math.log(config.limit - value)
        if config.learned in ("one", "table"):
            return {"logits": torch.full((observations,) if config.learned == "table" else (), logit, dtype=dtype)}
        params = linear_layers(sizes, generator, dtype)
        return {**params, f"layer{len(sizes) - 2}.bias": torch.full((1,), logit, dtype=dtype)}

    forms: dict[Form, Callable[[Meta, Tensor, Tensor], Tensor]] = {
        "no": lambda theta, seen, rewards: theta[FIXED][name].detach(),
        "one": lambda theta, seen, rewards: bounded(theta[name]["logits"]),
        "table": lambda theta, seen, rewards: bounded(seen @ theta[name]["logits"]),
        "state": lambda theta, seen, rewards: network(theta[name], seen),
        "rewards": lambda theta, seen, rewards: network(theta[name], rewards),
    }
    value = forms[config.learned]

    def reported(theta: Meta, seen: Tensor, rewards: Tensor) -> Tensor:
        if config.learned == "table":
            return bounded(theta[name]["logits"])
        return value(theta, seen, rewards).mean()

    return Hyperparameter(name, config.learned, start, value, reported)


def settings_of(configs: dict[str, HyperparameterConfig]) -> list[dict[str, float]]:
    """Every combination of initial values by name, the last name's fastest."""
    combinations = product(*(config.values for config in configs.values()))
    return [dict(zip(configs, values, strict=True)) for values in combinations]


def require_form(name: str, config: HyperparameterConfig, allowed: Sequence[Form]) -> None:
    """Raises `ValueError` unless it is learned in one of these forms."""
    if config.learned not in allowed:
        raise ValueError(f"`{name}.learned` must be one of {', '.join(allowed)}, got {config.learned!r}.")
