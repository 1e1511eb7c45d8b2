"""The four convolutional blocks of few-shot classification (Vinyals et al., 2016)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maml_rl.core.initialisation import Draw, xavier_uniform
from maml_rl.core.types import Params
from maml_rl.supervised.batch_norm import BatchNorm, batch_norm, no_norm
from maml_rl.supervised.networks.network import (
    Adaptation,
    Architecture,
    Network,
    NetworkConfig,
    activation_of,
    weights_of,
)

__all__ = ["CONV4", "conv4"]

BLOCKS = 4


def conv4(
    input_shape: Sequence[int],
    outputs: int,
    filters: int,
    downsampling: str,
    activation: Callable[[Tensor], Tensor],
    norm: BatchNorm,
    adapt_norm: bool,
    draw: Draw = xavier_uniform,
) -> Network:
    """Four blocks of 3x3 convolution, normalisation, activation, and a linear layer.

    "stride": convolutions of stride 2 and a mean over what is left of the image; "max_pool": 2x2 maxima after each
    block, and the linear layer sees every place.

    Raises:
        ValueError: images too small for four halvings.
    """
    channels, height, width = input_shape
    pooled = downsampling == "max_pool"
    if pooled and min(height, width) < 2**BLOCKS:
        raise ValueError(f"four 2x2 poolings need images of at least 16 x 16, got {height} x {width}.")
    features = filters * (height // 2**BLOCKS) * (width // 2**BLOCKS) if pooled else filters
    names = [f"block{block}.norm" for block in range(BLOCKS)]

    def initial(generator: Generator, dtype: torch.dtype) -> Params:
        params: Params = {}
        for block, name in enumerate(names):
            fan_in = channels if block == 0 else filters
            weight = draw((filters, fan_in, 3, 3), 9 * fan_in, 9 * filters, generator)
            params[f"block{block}.weight"] = weight.to(dtype)
            params[f"block{block}.bias"] = torch.zeros(filters, dtype=dtype)
            params.update(norm.initial(name, filters, dtype))
        params["head.weight"] = draw((outputs, features), features, outputs, generator).to(dtype)
        params["head.bias"] = torch.zeros(outputs, dtype=dtype)
        return params

    def apply(params: Params, inputs: Tensor, step: int, running: Params | None) -> tuple[Tensor, Params]:
        hidden, statistics = inputs, {}
        for block, name in enumerate(names):
            weight, bias = params[f"block{block}.weight"], params[f"block{block}.bias"]
            hidden = F.conv2d(hidden, weight, bias, stride=1 if pooled else 2, padding=1)
            hidden, of_block = norm.apply(params, name, hidden, step, running)
            statistics.update(of_block)
            hidden = activation(hidden)
            if pooled:
                hidden = F.max_pool2d(hidden, 2)
        hidden = hidden.flatten(1) if pooled else hidden.mean((2, 3))
        return F.linear(hidden, params["head.weight"], params["head.bias"]), statistics

    def statistics(dtype: torch.dtype) -> Params:
        return {key: leaf for name in names for key, leaf in norm.statistics(name, filters, dtype).items()}

    fixed = frozenset() if adapt_norm else frozenset(f"{name}.{part}" for name in names for part in norm.learned)
    return Network(initial, apply, statistics, fixed, "head.")


def _build(config: NetworkConfig, input_shape: Sequence[int], outputs: int) -> Network:
    if len(input_shape) != 3:
        raise ValueError(
            f"`network.id` {config.id!r} takes images [channels, height, width], got {tuple(input_shape)}."
        )
    norm = no_norm() if config.norm == "none" else batch_norm(config.norm == "running", config.norm_steps)
    return conv4(
        input_shape,
        outputs,
        config.filters,
        config.downsampling,
        activation_of(config),
        norm,
        config.adapt_norm,
        weights_of(config),
    )


def _require(config: NetworkConfig, adaptation: Adaptation) -> None:
    if config.norm == "none":
        return
    sets, most = config.norm_steps, max(adaptation.steps, 1)
    if sets > most:
        raise ValueError(
            f"`network.norm_steps` {sets} would leave sets untrained with `inner.steps` {adaptation.steps}; it must be "
            f"at most {most}."
        )
    if adaptation.implicit and (config.norm == "running" or sets > 1):
        raise ValueError(
            "`inner.mode` 'implicit' takes adaptation for the descent of one loss and keeps its ends only, but "
            f"`network.norm` is {config.norm!r} with `norm_steps` {sets}, which keeps sets for the steps: choose "
            "'transductive' or 'none', and 1."
        )
    if adaptation.displacement and (config.norm == "running" or not config.adapt_norm):
        raise ValueError(
            "`outer.update` 'displacement' moves what is adapted and nothing else: set `network.norm` to 'none' or "
            f"to 'transductive' with `network.adapt_norm`, got {config.norm!r}."
        )


def _without_effect(config: NetworkConfig) -> dict[str, tuple[str, ...]]:
    return {"`network.norm` 'none'": ("norm_steps", "adapt_norm")} if config.norm == "none" else {}


CONV4 = Architecture(
    options=("filters", "downsampling", "activation", "norm", "norm_steps", "adapt_norm", "initial_std"),
    build=_build,
    require=_require,
    without_effect=_without_effect,
    settings=lambda config: {"norm": config.norm},
)
