"""Policies as pure functions of explicit parameters, for one task or for all tasks at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.core.initialisation import Source, linear_layers
from maml_rl.core.types import Params
from maml_rl.rl.distributions import Categorical, DiagonalGaussian, Distribution

__all__ = [
    "ACTIVATIONS",
    "CONTEXT",
    "Policy",
    "PolicyConfig",
    "categorical_mlp",
    "gaussian_mlp",
    "perceptron",
    "policy_for",
    "without_context",
]

CONTEXT = "context"
"""The name of context parameters among those of a policy that adapts."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


@dataclass(frozen=True)
class PolicyConfig:
    """The policy network.

    Attributes:
        hidden: units of each hidden layer (Finn et al., 2017, A.2: 100, 100).
        activation: of the hidden layers (Finn et al., 2017, A.2: relu).
        initial_std: of the Gaussian before training, for continuous actions (both public codes: 1).
        minimum_std: floor of the Gaussian's spread (both public codes: 1e-6).
        output_scale: factor of the last layer's initial weights (both public codes: 1); a small one starts from noise
            alone.
        context: further inputs of the first layer that are parameters of the task, zero before adaptation (CAVIA,
            Zintgraf et al., 2019); none where it is 0.
    """

    hidden: list[int] = field(default_factory=lambda: [100, 100])
    activation: Literal["relu", "tanh"] = "relu"
    initial_std: float = 1.0
    minimum_std: float = 1e-6
    output_scale: float = 1.0
    context: int = 0

    def __post_init__(self) -> None:
        if self.context < 0:
            raise ValueError(f"`policy.context` must be at least 0, got {self.context}.")
        if not all(units > 0 for units in self.hidden):
            raise ValueError(f"`policy.hidden` must be positive numbers, got {self.hidden}.")
        if not 0 < self.initial_std < float("inf"):
            raise ValueError(f"`policy.initial_std` must be positive and finite, got {self.initial_std}.")
        if not 0 < self.minimum_std <= self.initial_std:
            raise ValueError(f"`policy.minimum_std` must be in (0, {self.initial_std}], got {self.minimum_std}.")
        if not 0 <= self.output_scale < float("inf"):
            raise ValueError(f"`policy.output_scale` must be finite and at least 0, got {self.output_scale}.")


class Policy(NamedTuple):
    """A policy: how its parameters start, what it does with observations, and the noise its actions are made of.

    Attributes:
        initial: ``initial(source, dtype)`` draws parameters, on the source's device.
        act: ``act(params, observations)`` is the distribution of actions. `params` without and observations with
            leading task dimensions, or both with, [N, ...] and [N, S, O].
        draw_noise: ``draw_noise(rng, shape)`` is float32 noise for samples of this shape.
        distribution: ``distribution(*tensors)`` is the distribution with these tensors.
        layers: how many its network has.
        context: how many context parameters adaptation begins with, all of them zero.
    """

    initial: Callable[[Source, torch.dtype], Params]
    act: Callable[[Params, Tensor], Distribution]
    draw_noise: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    distribution: Callable[..., Distribution]
    layers: int = 0
    context: int = 0

    def fresh(self, params: Params) -> Params:
        """What adaptation begins with: the parameters, and context where the policy has it."""
        if not self.context:
            return params
        like = next(iter(params.values()))
        return {**params, CONTEXT: torch.zeros(self.context, dtype=like.dtype, device=like.device)}

    def head(self, name: str) -> bool:
        """Whether a parameter is one of the output: of the last layer, or the log-std."""
        return name == "log_std" or name.startswith(f"layer{self.layers - 1}.")


def gaussian_mlp(
    observation_size: int,
    action_size: int,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    initial_std: float = 1.0,
    minimum_std: float = 1e-6,
    output_scale: float = 1.0,
    context: int = 0,
) -> Policy:
    """Gaussian policy with a multilayer perceptron for the mean and a free log-std (Finn et al., 2017, A.2).

    The log-std is a parameter like the others, so the inner loop adapts it too. Below `minimum_std` it is clamped,
    with zero gradient.
    """
    sizes = [observation_size + context, *hidden, action_size]
    nonlinearity = ACTIVATIONS[activation]
    floor = math.log(minimum_std)

    def initial(source: Source, dtype: torch.dtype) -> Params:
        log_std = torch.full((action_size,), math.log(initial_std), dtype=dtype, device=source.device)
        return {**_initial_layers(sizes, source, dtype, output_scale), "log_std": log_std}

    def act(params: Params, observations: Tensor) -> DiagonalGaussian:
        mean = perceptron(params, observations, len(sizes) - 1, nonlinearity)
        return DiagonalGaussian(mean, params["log_std"].clamp(min=floor)[..., None, :])

    def draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal((*shape, action_size), dtype=np.float32)

    return Policy(initial, act, draw_noise, DiagonalGaussian, len(sizes) - 1, context)


def categorical_mlp(
    observation_size: int,
    actions: int,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    output_scale: float = 1.0,
    context: int = 0,
) -> Policy:
    """Softmax policy over `actions` choices with a multilayer perceptron for the logits."""
    sizes = [observation_size + context, *hidden, actions]
    nonlinearity = ACTIVATIONS[activation]

    def act(params: Params, observations: Tensor) -> Categorical:
        return Categorical(perceptron(params, observations, len(sizes) - 1, nonlinearity))

    def draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.gumbel(size=(*shape, actions)).astype(np.float32)

    def initial(source: Source, dtype: torch.dtype) -> Params:
        return _initial_layers(sizes, source, dtype, output_scale)

    return Policy(initial, act, draw_noise, Categorical, len(sizes) - 1, context)


def policy_for(config: PolicyConfig, observations: gym.Space[Any], actions: gym.Space[Any]) -> Policy:
    """A Gaussian policy for a Box of actions, a categorical one for a Discrete space.

    Raises:
        ValueError: another action space.
    """
    inputs = gym.spaces.flatdim(observations)
    if isinstance(actions, gym.spaces.Discrete):
        return categorical_mlp(
            inputs, int(actions.n), config.hidden, config.activation, config.output_scale, config.context
        )
    if isinstance(actions, gym.spaces.Box) and len(actions.shape) == 1:
        return gaussian_mlp(
            inputs,
            actions.shape[0],
            config.hidden,
            config.activation,
            config.initial_std,
            config.minimum_std,
            config.output_scale,
            config.context,
        )
    raise ValueError(f"policies exist for Discrete and one-dimensional Box actions, got {actions}.")


def _initial_layers(sizes: Sequence[int], source: Source, dtype: torch.dtype, output_scale: float) -> Params:
    """Xavier-uniform weights, the last layer's scaled; zero biases."""
    params, last = linear_layers(sizes, source, dtype), f"layer{len(sizes) - 2}.weight"
    return {**params, last: params[last] * output_scale}


def perceptron(params: Params, inputs: Tensor, layers: int, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """A multilayer perceptron's outputs [..., A] for inputs [..., O].

    Args:
        params: ``layer0.weight``, ..., [out, in], and biases; [N, ...] a leaf where inputs are [N, S, O].
        inputs: [..., O].
        layers: how many.
        activation: between them.
    """
    for layer in range(layers):
        weight, bias = params[f"layer{layer}.weight"], params[f"layer{layer}.bias"]
        if layer == 0 and CONTEXT in params:
            weight, bias = _folded(weight, bias, params[CONTEXT])
        if weight.dim() == 3 and weight.stride(0) == 0 == bias.stride(0):
            weight, bias = weight[0], bias[0]  # all tasks share them, as before adaptation: one product serves all
        inputs = inputs @ weight.mT + bias[..., None, :]
        if layer < layers - 1:
            inputs = activation(inputs)
    return inputs


def without_context(params: Params) -> Params:
    """The same policy for the same observations, with its context in the first layer's bias."""
    if CONTEXT not in params:
        return params
    weight, bias = _folded(params["layer0.weight"], params["layer0.bias"], params[CONTEXT])
    return {
        **{name: leaf for name, leaf in params.items() if name != CONTEXT},
        "layer0.weight": weight,
        "layer0.bias": bias,
    }


def _folded(weight: Tensor, bias: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [..., U, O + C] and biases [..., U] with the context [..., C] put in: [..., U, O] and [..., U]."""
    own = weight.shape[-1] - context.shape[-1]
    return weight[..., :own], bias + (weight[..., own:] @ context[..., None])[..., 0]
