"""The multilayer perceptron."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maml_rl.core.initialisation import Draw, linear_layers, xavier_uniform
from maml_rl.core.types import Params
from maml_rl.supervised.networks.network import Architecture, Network, NetworkConfig, activation_of, weights_of

__all__ = ["MLP", "mlp"]


def mlp(sizes: Sequence[int], activation: Callable[[Tensor], Tensor] = F.relu, draw: Draw = xavier_uniform) -> Network:
    """Linear layers of these sizes with the activation between them; biases start at 0."""

    def apply(params: Params, inputs: Tensor, step: int, running: Params | None) -> tuple[Tensor, Params]:
        hidden = inputs.flatten(1)
        for layer in range(len(sizes) - 1):
            hidden = F.linear(hidden, params[f"layer{layer}.weight"], params[f"layer{layer}.bias"])
            if layer < len(sizes) - 2:
                hidden = activation(hidden)
        return hidden, {}

    def initial(generator: Generator, dtype: torch.dtype) -> Params:
        return linear_layers(sizes, generator, dtype, draw)

    return Network(initial, apply, lambda dtype: {}, head=f"layer{len(sizes) - 2}.")


def _build(config: NetworkConfig, input_shape: Sequence[int], outputs: int) -> Network:
    sizes = [math.prod(input_shape), *config.hidden, outputs]
    return mlp(sizes, activation_of(config), weights_of(config))


MLP = Architecture(("hidden", "activation", "initial_std"), _build)
