"""A learned optimiser that is one small perceptron, the same for every parameter (Metz et al., 2019 and 2022)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from maml_rl.core.initialisation import linear_layers
from maml_rl.core.rules.sgd import gradient
from maml_rl.core.tree import map_tree
from maml_rl.core.types import InnerState, Memory, Meta, Params, Rule

__all__ = ["OPTIMISER", "initial_per_parameter", "per_parameter"]

OPTIMISER = "optimiser"
"""The group of meta-parameters that learned optimisers read."""

DECAYS, SQUARE_DECAY = (0.5, 0.9, 0.99), 0.999
HORIZONS = (10.0, 100.0, 1000.0)
FEATURES = 3 + 2 * len(DECAYS) + len(HORIZONS)
_STEP, _EXPONENT, _SMALL = 1e-2, 1e-1, 1e-8


def initial_per_parameter(hidden: Sequence[int], generator: Generator, dtype: torch.dtype = torch.float32) -> Params:
    """Meta-parameters of `per_parameter`, with which steps are small and in no direction of use.

    Args:
        hidden: units of each hidden layer.
        generator: draws the weights.
        dtype: of the weights.
    """
    return linear_layers([FEATURES, *hidden, 2], generator, dtype)


def per_parameter() -> Rule:
    """phi_{k+1} = phi_k - 0.01 r d exp(0.1 s), (d, s) = MLP(features of one parameter), r the size of its tensor.

    Features: the gradient, its running means with decays 0.5, 0.9 and 0.99 (corrected for their start), each of them by
    the root of the running mean of squares, and the weight. Within a tensor each is divided by its root mean square, so
    that none has a unit: a loss in other units is optimised alike. Then one of age, tanh(log10((k + 1) / h)), for h of
    10, 100 and 1,000 steps. r is the root mean square of the tensor's entries, at least 0.01.

    The weights are ``meta["optimiser"]``, made by `initial_per_parameter`.
    """

    def start(params: Params, meta: Meta) -> Memory:
        zeros = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
        return {"means": {str(decay): zeros for decay in DECAYS}, "square": zeros}

    def move(signal: Params, state: InnerState, meta: Meta, step: Any) -> InnerState:
        weights, memory, moved = meta[OPTIMISER], state.memory, {}
        means = {str(decay): map_tree(_averaged(decay), memory["means"][str(decay)], signal) for decay in DECAYS}
        square = map_tree(_averaged(SQUARE_DECAY), memory["square"], map_tree(Tensor.square, signal))
        for name, leaf in state.params.items():
            count = torch.as_tensor(step, device=leaf.device).to(leaf.dtype) + 1
            spread = (square[name] / (1 - SQUARE_DECAY**count) + _SMALL**2).sqrt()
            unbiased = [means[str(decay)][name] / (1 - decay**count) for decay in DECAYS]
            seen = [signal[name], signal[name] / spread, leaf, *unbiased, *(mean / spread for mean in unbiased)]
            scaled = [_scaled(values) for values in seen]
            ages = [torch.tanh(torch.log10(count / horizon)).expand_as(leaf) for horizon in HORIZONS]
            direction, exponent = _perceptron(weights, torch.stack([*scaled, *ages], -1)).unbind(-1)
            moved[name] = leaf - _STEP * _size(leaf) * direction * torch.exp(_EXPONENT * exponent)
        return InnerState(moved, {"means": means, "square": square})

    return Rule("per_parameter", start, gradient, move)


def _averaged(decay: float) -> Any:
    return lambda mean, value: decay * mean + (1 - decay) * value


def _size(leaf: Tensor) -> Tensor:
    return (leaf.square().mean() + 1e-4).sqrt()


def _scaled(values: Tensor) -> Tensor:
    return values / (values.square().mean() + _SMALL**2).sqrt()


def _perceptron(weights: Params, inputs: Tensor) -> Tensor:
    layers = len(weights) // 2
    for layer in range(layers):
        inputs = inputs @ weights[f"layer{layer}.weight"].T + weights[f"layer{layer}.bias"]
        inputs = torch.relu(inputs) if layer < layers - 1 else inputs
    return inputs
