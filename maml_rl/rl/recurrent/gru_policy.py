"""Recurrent policies as pure functions of explicit parameters: a gated recurrent unit (Cho et al., 2014) between an
encoder and two heads, of actions and of a value.

It reads what RL^2 reads at each step (Duan et al., 2016, section 2.2): the observation, the action and the reward of
the step before, and whether an episode begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import linear, one_hot

from maml_rl.core.initialisation import linear_layers
from maml_rl.core.types import Memory, Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.policies import ACTIVATIONS, PolicyConfig, policy_for
from maml_rl.rl.sampling.actors import Actor

__all__ = ["GRUMemory", "Output", "RecurrentConfig", "RecurrentPolicy", "recurrent_for"]

_GRU = ("gru.weight_ih", "gru.weight_hh", "gru.bias_ih", "gru.bias_hh")
_HEAD = "head."


@dataclass(frozen=True)
class RecurrentConfig:
    """The recurrent policy.

    Attributes:
        units: of the gated recurrent unit, H (Duan et al., 2016: 256).
        encoder: units of each layer between the inputs and the recurrent unit; none feeds it the inputs themselves.
        activation: of the encoder's layers.
        initial_std: of the Gaussian before training, for continuous actions.
        minimum_std: floor of the Gaussian's spread.
        output_scale: factor of the action head's initial weights; a small one starts from noise alone.
    """

    units: int = 64
    encoder: list[int] = field(default_factory=lambda: [64])
    activation: Literal["relu", "tanh"] = "tanh"
    initial_std: float = 1.0
    minimum_std: float = 1e-6
    output_scale: float = 0.01

    def __post_init__(self) -> None:
        if not self.units > 0:
            raise ValueError(f"`policy.units` must be at least 1, got {self.units}.")
        if not all(units > 0 for units in self.encoder):
            raise ValueError(f"`policy.encoder` must be positive numbers, got {self.encoder}.")
        self.head  # noqa: B018  # refuses what is wrong with it

    @property
    def head(self) -> PolicyConfig:
        """The action head: a policy without hidden layers on the recurrent unit's state."""
        return PolicyConfig(
            [], initial_std=self.initial_std, minimum_std=self.minimum_std, output_scale=self.output_scale
        )


class Output(NamedTuple):
    """What the heads say of states [..., S, H].

    Attributes:
        distribution: of actions; all of its tensors have the leading dimensions [...].
        values: [..., S].
    """

    distribution: Distribution
    values: Tensor


class RecurrentPolicy(NamedTuple):
    """A policy with a memory, which may be any tree of tensors.

    Attributes:
        initial: ``initial(generator, dtype)`` draws parameters on the CPU.
        begin: ``begin(shape, like)`` is the memory before a trial, of leading dimensions `shape` and with the type and
            device of `like`.
        begin_episode: ``begin_episode(memory)`` tells it that an episode of the trial begins.
        step: ``step(params, memory, observations)`` takes observations [..., S, O] one step on: the output, and the
            memory behind it.
        remember: ``remember(memory, actions, rewards)`` is the memory after the step: actions [..., S, A] or [..., S],
            rewards [..., S].
        sequence: ``sequence(params, observations, actions, rewards, episode_starts)`` is the output at all steps of
            whole trials, [B, L, O], [B, L, A] or [B, L], [B, L] and [B, L]: what `step` says one after another.
        draw_noise: ``draw_noise(rng, shape)`` is float32 noise for samples of this shape.
        distribution: ``distribution(*tensors)`` is the distribution with these tensors.
    """

    initial: Callable[[Generator, torch.dtype], Params]
    begin: Callable[[tuple[int, ...], Tensor], Memory]
    begin_episode: Callable[[Memory], Memory]
    step: Callable[[Params, Memory, Tensor], tuple[Output, Memory]]
    remember: Callable[[Memory, Tensor, Tensor], Memory]
    sequence: Callable[[Params, Tensor, Tensor, Tensor, Tensor], Output]
    draw_noise: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    distribution: Callable[..., Distribution]

    def actor(self) -> Actor:
        """The policy as the sampler plays it."""

        def act(params: Params, memory: Memory, observations: Tensor) -> tuple[Distribution, Memory]:
            output, ahead = self.step(params, memory, observations)
            return output.distribution, ahead

        return Actor(self.begin, self.begin_episode, act, self.remember, self.draw_noise)


class GRUMemory(NamedTuple):
    """What a gated recurrent unit's policy carries from step to step.

    Attributes:
        hidden: the recurrent state, [..., H].
        codes: the last action as the policy reads it, [..., C]; zeros before the first.
        rewards: the last reward, [...]; zero before the first.
        starts: 1 where an episode begins, [...].
    """

    hidden: Tensor
    codes: Tensor
    rewards: Tensor
    starts: Tensor


def recurrent_for(config: RecurrentConfig, observations: gym.Space[Any], actions: gym.Space[Any]) -> RecurrentPolicy:
    """A Gaussian policy for a Box of actions, a categorical one for a Discrete space.

    Raises:
        ValueError: another action space.
    """
    head = policy_for(config.head, gym.spaces.Box(-1.0, 1.0, (config.units,)), actions)
    size, code = _coding(actions)
    sizes = [gym.spaces.flatdim(observations) + size + 2, *config.encoder]
    activation = ACTIVATIONS[config.activation]

    def initial(generator: Generator, dtype: torch.dtype) -> Params:
        drawn = {
            **linear_layers(sizes, generator, torch.float64, _xavier, "encoder"),
            **_initial_gru(sizes[-1], config.units, generator),
            **{_HEAD + name: leaf for name, leaf in head.initial(generator, torch.float64).items()},
            "value.weight": torch.zeros(1, config.units),
            "value.bias": torch.zeros(1),
        }
        return {name: leaf.to(dtype) for name, leaf in drawn.items()}

    def encode(params: Params, inputs: Tensor) -> Tensor:
        for layer in range(len(config.encoder)):
            inputs = activation(linear(inputs, params[f"encoder{layer}.weight"], params[f"encoder{layer}.bias"]))
        return inputs

    def outputs(params: Params, hidden: Tensor) -> Output:
        own = {name.removeprefix(_HEAD): leaf for name, leaf in params.items() if name.startswith(_HEAD)}
        parts = (part.expand(*hidden.shape[:-2], *part.shape[-2:]) for part in head.act(own, hidden))
        return Output(head.distribution(*parts), linear(hidden, params["value.weight"], params["value.bias"])[..., 0])

    def begin(shape: tuple[int, ...], like: Tensor) -> GRUMemory:
        hidden, codes, rewards = (like.new_zeros(*shape, *part) for part in ((config.units,), (size,), ()))
        return GRUMemory(hidden, codes, rewards, torch.zeros_like(rewards))

    def step(params: Params, memory: GRUMemory, observations: Tensor) -> tuple[Output, GRUMemory]:
        flat = encode(params, _joined(observations, memory.codes, memory.rewards, memory.starts)).flatten(0, -2)
        hidden = torch.gru_cell(flat, memory.hidden.flatten(0, -2), *(params[name] for name in _GRU))
        hidden = hidden.view_as(memory.hidden)
        return outputs(params, hidden), memory._replace(hidden=hidden)

    def remember(memory: GRUMemory, actions: Tensor, rewards: Tensor) -> GRUMemory:
        paid = rewards.to(memory.rewards)
        return GRUMemory(memory.hidden, code(actions, paid.dtype), paid, torch.zeros_like(memory.starts))

    def sequence(params: Params, observations: Tensor, actions: Tensor, rewards: Tensor, starts: Tensor) -> Output:
        inputs = _joined(observations, _delayed(code(actions, rewards.dtype)), _delayed(rewards), starts)
        start = inputs.new_zeros(1, len(inputs), config.units)
        weights = [params[name] for name in _GRU]
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        hidden, _ = torch.gru(encode(params, inputs), start, weights, True, 1, 0.0, False, False, True)
        return outputs(params, hidden)

    def begin_episode(memory: GRUMemory) -> GRUMemory:
        return memory._replace(starts=torch.ones_like(memory.starts))

    return RecurrentPolicy(initial, begin, begin_episode, step, remember, sequence, head.draw_noise, head.distribution)


def _delayed(values: Tensor) -> Tensor:
    """The values of the step before, and zero at the first."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)


def _coding(actions: gym.Space[Any]) -> tuple[int, Callable[[Tensor, torch.dtype], Tensor]]:
    """How many numbers a policy reads of an action, and how they are made of one."""
    if isinstance(actions, gym.spaces.Discrete):
        count = int(actions.n)
        return count, lambda taken, dtype: one_hot(taken.long(), count).to(dtype)
    assert isinstance(actions, gym.spaces.Box)  # the head has refused others
    low, high = (torch.from_numpy(np.asarray(bound)) for bound in (actions.low, actions.high))
    return len(low), lambda taken, dtype: taken.to(dtype).clamp(
        low.to(taken.device, dtype), high.to(taken.device, dtype)
    )


def _joined(observations: Tensor, codes: Tensor, rewards: Tensor, starts: Tensor) -> Tensor:
    return torch.cat([observations, codes, rewards[..., None], starts[..., None]], dim=-1)


def _initial_gru(inputs: int, units: int, generator: Generator) -> Params:
    """For each of the three gates Xavier-uniform input weights and orthogonal recurrent ones (Duan et al., 2016)."""
    square = torch.empty(units, units, dtype=torch.float64)
    return {
        "gru.weight_ih": torch.cat([_xavier((units, inputs), inputs, units, generator) for _ in range(3)]),
        "gru.weight_hh": torch.cat([torch.nn.init.orthogonal_(square.clone(), generator=generator) for _ in range(3)]),
        "gru.bias_ih": torch.zeros(3 * units),
        "gru.bias_hh": torch.zeros(3 * units),
    }


def _xavier(shape: Sequence[int], fan_in: int, fan_out: int, generator: Generator) -> Tensor:
    """As PyTorch draws it (Glorot and Bengio, 2010)."""
    return torch.nn.init.xavier_uniform_(torch.empty(*shape, dtype=torch.float64), generator=generator)
