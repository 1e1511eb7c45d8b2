"""Initial weights, drawn in float64 from a generator, or made of a seed where `torch.func.vmap` maps over seeds."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor, nn

from maml_rl.core.estimators.seeded import seeded_uniform
from maml_rl.core.types import Params

__all__ = ["Draw", "Seeded", "Source", "linear_layers", "truncated_normal", "xavier_uniform"]


class Seeded:
    """Draws that are a function of a seed, an int64 scalar tensor; each draw is independent of the ones before."""

    def __init__(self, seed: Tensor) -> None:
        self._seed, self._draws = seed, 0

    @property
    def device(self) -> torch.device:
        """Of the draws."""
        return self._seed.device

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Numbers in [0, 1), in float64."""
        self._draws += 1
        return seeded_uniform(self._seed, *shape, stream=self._draws, dtype=torch.float64)


Source: TypeAlias = Generator | Seeded
"""What weights are drawn from."""

Draw: TypeAlias = Callable[[Sequence[int], int, int, Any], Tensor]
"""``draw(shape, fan_in, fan_out, source)`` is a weight of this shape, in float64."""


def xavier_uniform(shape: Sequence[int], fan_in: int, fan_out: int, source: Source) -> Tensor:
    """U[-b, b], b = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010, equation 16).

    Args:
        shape: of the weight.
        fan_in: inputs of each unit.
        fan_out: units that each input goes to.
        source: draws the numbers.
    """
    bound = math.sqrt(6 / (fan_in + fan_out))
    return (2 * _uniform(shape, source) - 1) * bound


def _uniform(shape: Sequence[int], source: Source) -> Tensor:
    if isinstance(source, Seeded):
        return source.uniform(shape)
    return torch.rand(*shape, generator=source, dtype=torch.float64)


def linear_layers(
    sizes: Sequence[int], source: Source, dtype: torch.dtype, draw: Draw = xavier_uniform, name: str = "layer"
) -> Params:
    """Weights ``layer0.weight``, ..., [out, in], and zero biases of linear layers from one size to the next.

    Args:
        sizes: of the inputs, of each hidden layer, and of the outputs.
        source: draws the weights, layer after layer.
        dtype: of the parameters.
        draw: how a weight is drawn.
        name: what the parameters' names begin with.
    """
    params: Params = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        params[f"{name}{layer}.weight"] = draw((fan_out, fan_in), fan_in, fan_out, source).to(dtype)
        params[f"{name}{layer}.bias"] = torch.zeros(fan_out, dtype=dtype, device=source.device)
    return params


def truncated_normal(std: float) -> Draw:
    """N(0, std^2) cut off at two standard deviations."""

    def draw(shape: Sequence[int], fan_in: int, fan_out: int, generator: Generator) -> Tensor:
        weight = torch.empty(*shape, dtype=torch.float64)
        return nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)

    return draw
