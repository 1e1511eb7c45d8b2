"""Learned optimisers as optimisers of PyTorch, with weights that meta-training found."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maml_rl.core.rules.hierarchical import hierarchical
from maml_rl.core.rules.per_parameter import OPTIMISER, per_parameter
from maml_rl.core.tree import map_tree
from maml_rl.core.types import InnerState, Meta, Params, Rule
from maml_rl.optim.rule_optimiser import RuleOptimiser

__all__ = ["PRETRAINED", "LearnedOptimiser", "pretrained_weights"]

PRETRAINED = Path(__file__).parent / "pretrained"
"""The folder of the weights that come with this package."""


class LearnedOptimiser(RuleOptimiser):
    """An optimiser whose steps a small network computes; see `maml_rl.core.rules.per_parameter` and `hierarchical`.

    All parameters of a group go through the network at once. It is used like any other optimiser, but for `horizon`:
    tell it how long you will train, because it goes by how much of the training is over.

    Args:
        params: parameters of one type and device, or groups of them.
        weights: of the network, from `pretrained_weights`.
        horizon: T, the steps of the training; steps behind them count as the last one.
        lr: by which the learned steps are multiplied; schedulers change it.

    Raises:
        ValueError: the weights are not those of a learned optimiser, or an option is out of its range.
    """

    def __init__(self, params: Iterable[Any], weights: Mapping[str, Tensor], horizon: int, lr: float = 1.0) -> None:
        if horizon < 1:
            raise ValueError(f"`horizon` must be at least 1, got {horizon}.")
        kind = kind_of(weights)
        super().__init__(params, lambda group: _multiplied(kind, group), {"lr": lr, "horizon": horizon})
        leaf = self.param_groups[0]["params"][0]
        self._meta: Meta = {OPTIMISER: {name: weight.to(leaf) for name, weight in weights.items()}}

    @classmethod
    def from_pretrained(
        cls, params: Iterable[Any], horizon: int, source: str | Path = "small", lr: float = 1.0
    ) -> "LearnedOptimiser":
        """With weights that were trained before.

        Args:
            params: see the class.
            horizon: see the class.
            source: the name of weights that come with this package, or a checkpoint of a run of the system
                `learned_optimiser`, such as ``runs/optimiser/checkpoints/last.pt``.
            lr: see the class.

        Raises:
            ValueError: there are no such weights.
        """
        return cls(params, pretrained_weights(source), horizon, lr)


def pretrained_weights(source: str | Path) -> Params:
    """The weights of a learned optimiser: of a name that comes with this package, or of a run's checkpoint.

    Raises:
        ValueError: there are none of that name, or the file is something else.
    """
    named = PRETRAINED / f"{source}.pt"
    path = named if named.is_file() else Path(source)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRETRAINED.glob("*.pt")))
        raise ValueError(f"there are no weights {str(source)!r}; there are {known}, and checkpoints of runs.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights: Params = content["state"]["meta"][OPTIMISER]
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has no weights of a learned optimiser ({type(error).__name__}).") from error
    kind_of(weights)
    return weights


def kind_of(weights: Mapping[str, Tensor]) -> str:
    """The kind of learned optimiser that these weights are of, as configurations have it.

    Raises:
        ValueError: of none.
    """
    for kind, name in (("per_parameter", "follow"), ("hierarchical", "parameter.hidden")):
        if name in weights:
            return kind
    raise ValueError(f"these are not the weights of a learned optimiser: {', '.join(weights)}.")


def _multiplied(kind: str, group: dict[str, Any]) -> Rule:
    """The rule of a group, with steps times the group's learning rate."""
    factor = group["lr"]
    rule = per_parameter(group["horizon"]) if kind == "per_parameter" else hierarchical()

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        moved = rule.move(signal, state, meta, step)
        params = map_tree(lambda before, after: before + factor * (after - before), state.params, moved.params)
        return moved._replace(params=params)

    return rule._replace(move=move)
