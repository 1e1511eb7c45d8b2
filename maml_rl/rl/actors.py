"""Who acts in one environment, an episode after another: a policy as it is, or one with a memory."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.types import Params
from maml_rl.rl.policies import Policy
from maml_rl.rl.recurrent.gru_policy import RecurrentPolicy

__all__ = ["Actor", "Remembering", "Steady"]


class Actor(Protocol):
    """Takes the most likely action."""

    def begin(self) -> None:
        """An episode begins."""

    def act(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The action for an observation, [O]: [A], or a number from 0 where actions are discrete."""

    def see(self, reward: float) -> None:
        """What the last action brought."""


class Steady:
    """A policy without a memory, with parameters of one task."""

    def __init__(self, policy: Policy, params: Params) -> None:
        self._policy, self._params = policy, params

    def begin(self) -> None:
        """Nothing is carried over."""

    @torch.no_grad()
    def act(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The most likely action."""
        seen = _as_input(observation, self._params)[None]
        chosen: NDArray[Any] = self._policy.act(self._params, seen).mode()[0].cpu().numpy()
        return chosen

    def see(self, reward: float) -> None:
        """Nothing is kept."""


class Remembering:
    """A recurrent policy in one trial: its memory goes on from episode to episode."""

    def __init__(self, policy: RecurrentPolicy, params: Params) -> None:
        self._policy, self._params = policy, params
        like = next(iter(params.values()))
        self._hidden, self._code = like.new_zeros(1, policy.units), like.new_zeros(1, policy.code_size)
        self._reward, self._begins = like.new_zeros(1), like.new_ones(1)

    def begin(self) -> None:
        """Tells the policy that an episode begins."""
        self._begins = torch.ones_like(self._begins)

    @torch.no_grad()
    def act(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The most likely action."""
        seen = _as_input(observation, self._params)[None]
        inputs = self._policy.inputs(seen, self._code, self._reward, self._begins)
        output, self._hidden = self._policy.step(self._params, inputs, self._hidden)
        action = output.distribution.mode()
        self._code, self._begins = self._policy.code(action, self._code.dtype), torch.zeros_like(self._begins)
        chosen: NDArray[Any] = action[0].cpu().numpy()
        return chosen

    def see(self, reward: float) -> None:
        """Keeps the reward for the next step."""
        self._reward = torch.full_like(self._reward, reward)


def _as_input(observation: NDArray[Any], params: Params) -> Tensor:
    like = next(iter(params.values()))
    return torch.as_tensor(np.asarray(observation), dtype=like.dtype, device=like.device)
