"""What a network is, how a configuration describes one, and what each architecture says of itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maml_rl.core.initialisation import Draw, truncated_normal, xavier_uniform
from maml_rl.core.types import Params

__all__ = ["Adaptation", "Architecture", "Network", "NetworkConfig", "activation_of", "weights_of"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "leaky_relu": F.leaky_relu, "tanh": torch.tanh}


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


class Adaptation(NamedTuple):
    """What training will ask of a network.

    Attributes:
        steps: inner steps.
        implicit: whether the meta-gradient takes adaptation for the descent of one loss to its minimum.
        displacement: whether the meta-update moves towards the adapted parameters, so that it moves nothing else.
    """

    steps: int
    implicit: bool = False
    displacement: bool = False


class Architecture(NamedTuple):
    """A family of networks, and what a configuration has to know of it.

    Attributes:
        options: names of the options in `NetworkConfig` that it reads.
        build: ``build(config, input_shape, outputs)`` is the network; raises `ValueError` for inputs it does not take.
        require: ``require(config, adaptation)`` raises `ValueError` where the network does not go with what training
            will ask of it.
        without_effect: ``without_effect(config)`` are names of its own options that do nothing, by the choice that
            makes them so.
        settings: ``settings(config)`` is what a result has to say of the network, by the option's name.
    """

    options: tuple[str, ...]
    build: Callable[[NetworkConfig, Sequence[int], int], Network]
    require: Callable[[NetworkConfig, Adaptation], None] = lambda config, adaptation: None
    without_effect: Callable[[NetworkConfig], dict[str, tuple[str, ...]]] = lambda config: {}
    settings: Callable[[NetworkConfig], dict[str, str]] = lambda config: {}


def activation_of(config: NetworkConfig) -> Callable[[Tensor], Tensor]:
    """What follows each hidden layer."""
    return _ACTIVATIONS[config.activation]


def weights_of(config: NetworkConfig) -> Draw:
    """How weights start."""
    return xavier_uniform if config.initial_std is None else truncated_normal(config.initial_std)
