"""Networks as pure functions of explicit parameters, for one task; `torch.func.vmap` maps them over tasks."""

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from maml_rl.core.types import Params
from maml_rl.supervised.batch_norm import BatchNorm, batch_norm, no_norm

__all__ = ["OPTIONS", "Network", "NetworkConfig", "conv4", "from_module", "mlp", "network_for"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "leaky_relu": F.leaky_relu, "tanh": torch.tanh}
BLOCKS = 4
OPTIONS = {
    "mlp": ("hidden", "activation", "initial_std"),
    "conv4": ("filters", "downsampling", "activation", "norm", "norm_steps", "adapt_norm", "initial_std"),
}
"""What can be said of each network; of others, `arguments`."""


class Network(NamedTuple):
    """A network.

    Attributes:
        initial: ``initial(generator, dtype)`` draws the parameters on the CPU.
        apply: ``apply(params, inputs, step, running)`` is the outputs and the statistics of this batch's normalisation
            layers (empty where they are not kept). `step` chooses among per-step sets; `running` are the statistics to
            normalise with, or None for the batch's own.
        statistics: ``statistics(dtype)`` are running statistics before training; empty where none are kept.
        fixed: names of parameters that are meta-learned but not adapted.
        head: what the names of the last layer's parameters begin with.
    """

    initial: Callable[[Generator, torch.dtype], Params]
    apply: Callable[[Params, Tensor, int, Params | None], tuple[Tensor, Params]]
    statistics: Callable[[torch.dtype], Params]
    fixed: frozenset[str] = frozenset()
    head: str = ""


@dataclass(frozen=True)
class NetworkConfig:
    """The network.

    Attributes:
        id: "mlp", "conv4", or "module:function" for a function of (input_shape, outputs, **arguments) that returns a
            torch.nn.Module.
        hidden: units of an mlp's hidden layers (Finn et al., 2017, sinusoid: 40, 40).
        filters: of each of conv4's blocks (Finn et al., 2017, Omniglot: 64).
        downsampling: of conv4: "stride" 2 and a spatial mean (Finn et al., 2017, Omniglot), or "max_pool".
        activation: after each hidden layer.
        norm: of conv4: "transductive" normalises with the batch's own statistics always; "running" does so in training,
            and in evaluation with averages kept over training; "none".
        norm_steps: per-step sets of scale, shift and statistics, one for each inner step (Antoniou et al., 2018); 1
            shares one set.
        adapt_norm: whether the inner loop adapts scale and shift; otherwise they are meta-learned only.
        initial_std: weights start as a normal truncated at two of these; Xavier-uniform where nothing is given
            (Finn et al., 2017, sinusoid: 0.01).
        arguments: of a network of one's own.
    """

    id: str = "mlp"
    hidden: list[int] = field(default_factory=lambda: [40, 40])
    filters: int = 64
    downsampling: Literal["stride", "max_pool"] = "stride"
    activation: Literal["relu", "leaky_relu", "tanh"] = "relu"
    norm: Literal["transductive", "running", "none"] = "transductive"
    norm_steps: int = 1
    adapt_norm: bool = False
    initial_std: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(units > 0 for units in self.hidden):
            raise ValueError(f"`network.hidden` must be positive numbers, got {self.hidden}.")
        for name in ("filters", "norm_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`network.{name}` must be at least 1, got {getattr(self, name)}.")
        if self.initial_std is not None and not 0 < self.initial_std < float("inf"):
            raise ValueError(f"`network.initial_std` must be positive and finite, got {self.initial_std}.")


def network_for(config: NetworkConfig, input_shape: Sequence[int], outputs: int) -> Network:
    """The network of a configuration for inputs of this shape.

    Raises:
        ValueError: there is none of this name, or it does not take such inputs.
    """
    draw = truncated_normal(config.initial_std) if config.initial_std is not None else xavier_uniform
    activation = ACTIVATIONS[config.activation]
    if config.id == "mlp":
        return mlp([math.prod(input_shape), *config.hidden, outputs], activation, draw)
    if config.id == "conv4":
        if len(input_shape) != 3:
            raise ValueError(f"`network.id` 'conv4' takes images [channels, height, width], got {tuple(input_shape)}.")
        norm = no_norm() if config.norm == "none" else batch_norm(config.norm == "running", config.norm_steps)
        return conv4(
            input_shape, outputs, config.filters, config.downsampling, activation, norm, config.adapt_norm, draw
        )
    return _built(config, input_shape, outputs)


Draw = Callable[[Sequence[int], int, int, Generator], Tensor]
"""``draw(shape, fan_in, fan_out, generator)`` is a weight in float64."""


def xavier_uniform(shape: Sequence[int], fan_in: int, fan_out: int, generator: Generator) -> Tensor:
    """U[-b, b], b = sqrt(6 / (in + out)) (Glorot and Bengio, 2010)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * bound


def truncated_normal(std: float) -> Draw:
    """N(0, std^2) cut off at two standard deviations."""

    def draw(shape: Sequence[int], fan_in: int, fan_out: int, generator: Generator) -> Tensor:
        weight = torch.empty(*shape, dtype=torch.float64)
        return nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)

    return draw


def mlp(sizes: Sequence[int], activation: Callable[[Tensor], Tensor] = F.relu, draw: Draw = xavier_uniform) -> Network:
    """Linear layers of these sizes with the activation between them; biases start at 0."""

    def initial(generator: Generator, dtype: torch.dtype) -> Params:
        params: Params = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            params[f"layer{layer}.weight"] = draw((fan_out, fan_in), fan_in, fan_out, generator).to(dtype)
            params[f"layer{layer}.bias"] = torch.zeros(fan_out, dtype=dtype)
        return params

    def apply(params: Params, inputs: Tensor, step: int, running: Params | None) -> tuple[Tensor, Params]:
        hidden = inputs.flatten(1)
        for layer in range(len(sizes) - 1):
            hidden = F.linear(hidden, params[f"layer{layer}.weight"], params[f"layer{layer}.bias"])
            if layer < len(sizes) - 2:
                hidden = activation(hidden)
        return hidden, {}

    return Network(initial, apply, lambda dtype: {}, head=f"layer{len(sizes) - 2}.")


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
    """Four blocks of 3x3 convolution, normalisation, activation, and a linear layer (Vinyals et al., 2016).

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
        hidden, seen = inputs, {}
        for block, name in enumerate(names):
            weight, bias = params[f"block{block}.weight"], params[f"block{block}.bias"]
            hidden = F.conv2d(hidden, weight, bias, stride=1 if pooled else 2, padding=1)
            hidden, found = norm.apply(params, name, hidden, step, running)
            seen.update(found)
            hidden = activation(hidden)
            if pooled:
                hidden = F.max_pool2d(hidden, 2)
        hidden = hidden.flatten(1) if pooled else hidden.mean((2, 3))
        return F.linear(hidden, params["head.weight"], params["head.bias"]), seen

    def statistics(dtype: torch.dtype) -> Params:
        return {key: leaf for name in names for key, leaf in norm.statistics(name, filters, dtype).items()}

    fixed = frozenset() if adapt_norm else frozenset(f"{name}.{part}" for name in names for part in norm.learned)
    return Network(initial, apply, statistics, fixed, "head.")


def from_module(make: Callable[[], nn.Module]) -> Network:
    """Any module without buffers, called with explicit parameters by `torch.func.functional_call`.

    Args:
        make: makes the module with its initial weights, drawn from torch's global generator.

    Raises:
        ValueError: the module keeps buffers, which adaptation would have to change in place, or is none.
    """

    def made(seed: int) -> nn.Module:
        # Modules draw from the CPU's global generator; it is lent to them and put back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return make()

    template = made(0)
    if not isinstance(template, nn.Module):
        raise ValueError(f"a network must be a torch.nn.Module, got {type(template).__name__}.")
    buffers = [name for name, _ in template.named_buffers()]
    if buffers:
        raise ValueError(f"a network must keep its state in parameters, this module has buffers: {', '.join(buffers)}.")

    def initial(generator: Generator, dtype: torch.dtype) -> Params:
        module = made(int(torch.randint(2**62, (), generator=generator)))
        return {name: leaf.detach().to(dtype).clone() for name, leaf in module.named_parameters()}

    def apply(params: Params, inputs: Tensor, step: int, running: Params | None) -> tuple[Tensor, Params]:
        return torch.func.functional_call(template, params, (inputs,)), {}

    last = [name for name, _ in template.named_parameters()][-1:]
    return Network(initial, apply, lambda dtype: {}, head=last[0].rpartition(".")[0] + "." if last else "")


def _built(config: NetworkConfig, input_shape: Sequence[int], outputs: int) -> Network:
    path, colon, name = config.id.partition(":")
    if not (path and colon and name):
        raise ValueError(f"there is no network {config.id!r}; there are mlp, conv4, or 'module:function'.")
    try:
        make = getattr(importlib.import_module(path), name)
        return from_module(lambda: make(tuple(input_shape), outputs, **config.arguments))
    except Exception as error:  # whatever a function of somebody else's may raise
        raise ValueError(f"network {config.id!r} cannot be made: {error}") from error
