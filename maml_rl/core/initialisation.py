"""Initial weights, drawn in float64 from a generator that is passed in."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Generator, Tensor, nn

from maml_rl.core.types import Params

__all__ = ["Draw", "linear_layers", "truncated_normal", "xavier_uniform"]

Draw: TypeAlias = Callable[[Sequence[int], int, int, Generator], Tensor]
"""``draw(shape, fan_in, fan_out, generator)`` is a weight of this shape, in float64."""


def xavier_uniform(shape: Sequence[int], fan_in: int, fan_out: int, generator: Generator) -> Tensor:
    """U[-b, b], b = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010, equation 16).

    Args:
        shape: of the weight.
        fan_in: inputs of each unit.
        fan_out: units that each input goes to.
        generator: draws the numbers.
    """
    bound = math.sqrt(6 / (fan_in + fan_out))
    return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * bound


def linear_layers(
    sizes: Sequence[int], generator: Generator, dtype: torch.dtype, draw: Draw = xavier_uniform, name: str = "layer"
) -> Params:
    """Weights ``layer0.weight``, ..., [out, in], and zero biases of linear layers from one size to the next.

    Args:
        sizes: of the inputs, of each hidden layer, and of the outputs.
        generator: draws the weights, layer after layer.
        dtype: of the parameters.
        draw: how a weight is drawn.
        name: what the parameters' names begin with.
    """
    params: Params = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        params[f"{name}{layer}.weight"] = draw((fan_out, fan_in), fan_in, fan_out, generator).to(dtype)
        params[f"{name}{layer}.bias"] = torch.zeros(fan_out, dtype=dtype)
    return params


def truncated_normal(std: float) -> Draw:
    """N(0, std^2) cut off at two standard deviations."""

    def draw(shape: Sequence[int], fan_in: int, fan_out: int, generator: Generator) -> Tensor:
        weight = torch.empty(*shape, dtype=torch.float64)
        return nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)

    return draw
