"""Who acts: a policy with or without a memory, in all environments at once or in a single one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.types import Memory, Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.policies import Policy

__all__ = ["Actor", "Player", "memoryless"]


class Actor(NamedTuple):
    """A policy as the sampler plays it, in N x E environments at once. Its memory is any tree of tensors [N, E, ...].

    Attributes:
        begin: ``begin(shape, like)`` is the memory before the first step, of leading dimensions `shape` and with the
            type and device of `like`.
        begin_episode: ``begin_episode(memory)`` tells it that an episode begins.
        act: ``act(params, memory, observations)`` is the distribution of actions for observations [N, E, O], and the
            memory behind it.
        remember: ``remember(memory, actions, rewards)`` is the memory after a step, with actions [N, E, ...] and
            rewards [N, E].
        draw_noise: ``draw_noise(rng, shape)`` is float32 noise for samples of this shape.
    """

    begin: Callable[[tuple[int, ...], Tensor], Memory]
    begin_episode: Callable[[Memory], Memory]
    act: Callable[[Params, Memory, Tensor], tuple[Distribution, Memory]]
    remember: Callable[[Memory, Tensor, Tensor], Memory]
    draw_noise: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def memoryless(policy: Policy) -> Actor:
    """A policy that sees the present observation and nothing else."""
    return Actor(
        begin=lambda shape, like: (),
        begin_episode=lambda memory: (),
        act=lambda params, memory, observations: (policy.act(params, observations), ()),
        remember=lambda memory, actions, rewards: (),
        draw_noise=policy.draw_noise,
    )


class Player:
    """An actor in one environment, an episode after another. It takes the most likely actions.

    Args:
        actor: who acts.
        params: its parameters, of one task.
    """

    def __init__(self, actor: Actor, params: Params) -> None:
        self._actor, self._params = actor, params
        self._like = next(iter(params.values()))
        self._memory = actor.begin((1, 1), self._like)
        self._action: Tensor | None = None

    def begin_episode(self) -> None:
        """An episode begins; what a memory holds of earlier ones stays."""
        self._memory = self._actor.begin_episode(self._memory)

    @torch.no_grad()
    def act(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The action for an observation, [O]: [A], or a number from 0 where actions are discrete."""
        seen = torch.as_tensor(np.asarray(observation), dtype=self._like.dtype, device=self._like.device)
        distribution, self._memory = self._actor.act(self._params, self._memory, seen[None, None])
        self._action = distribution.mode()
        chosen: NDArray[Any] = self._action[0, 0].cpu().numpy()
        return chosen

    def see(self, reward: float) -> None:
        """What the last action brought."""
        if self._action is not None:
            paid = self._like.new_full((1, 1), reward)
            self._memory = self._actor.remember(self._memory, self._action, paid)
