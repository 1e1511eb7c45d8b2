"""Steps of all environments, time first, packed into tensors with tasks and episodes first."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from maml_rl.rl.distributions import Distribution
from maml_rl.rl.sampling.stepping import Stepped
from maml_rl.rl.sampling.trajectories import Trajectories

__all__ = ["EpisodeRecord", "Layout", "log_probs_of"]


class Layout:
    """How flat arrays of B = N E environments become tensors.

    Args:
        tasks: N.
        episodes: E.
        device: where tensors end up.
        dtype: of floating-point ones.
    """

    def __init__(self, tasks: int, episodes: int, device: torch.device, dtype: torch.dtype) -> None:
        self.tasks, self.episodes, self.device, self.dtype = tasks, episodes, device, dtype

    def numpy_type(self) -> type[np.floating[Any]]:
        """The precision of observations on the host."""
        return np.float64 if self.dtype == torch.float64 else np.float32

    def flat(self, values: np.ndarray) -> Tensor:
        """[B, ...] as [N, E, ...]."""
        return self.put(torch.from_numpy(values).view(self.tasks, self.episodes, *values.shape[1:]))

    def over_time(self, values: np.ndarray | Tensor) -> Tensor:
        """[T, B, ...] of an array, or [T, N, E, ...] of a tensor, as [N, E, T, ...]."""
        if isinstance(values, np.ndarray):
            values = torch.from_numpy(values).view(len(values), self.tasks, self.episodes, *values.shape[2:])
        return self.put(values).movedim(0, 2).contiguous()

    def put(self, value: Tensor) -> Tensor:
        """The value on the device, in the precision of the data."""
        return value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)


class EpisodeRecord:
    """Episodes in the making: who is still alive, and what has been seen. One call of `add` is one time step.

    Args:
        layout: of tasks and episodes.
        horizon: T, after which every episode ends.
        first: the first observations, [B, O].
    """

    def __init__(self, layout: Layout, horizon: int, first: np.ndarray) -> None:
        self._layout, self._horizon = layout, horizon
        count, size = first.shape
        self.observations = np.zeros((horizon + 1, count, size), layout.numpy_type())
        self.observations[0] = first
        self._rewards, self._mask = np.zeros((horizon, count)), np.zeros((horizon, count))
        self._terminated, self._last = np.zeros(count, bool), np.zeros_like(self.observations[0])
        self._successes: np.ndarray | None = None
        self._actions: list[Tensor] = []
        self._distributions: list[Distribution] = []
        self.alive = np.ones(count, bool)
        self.time = 0

    def add(self, distribution: Distribution, actions: Tensor, step: Stepped) -> np.ndarray:
        """Takes a step in; returns [B], where an episode ended, whoever's data still count."""
        time, alive = self.time, self.alive
        self._actions.append(actions)
        self._distributions.append(distribution)
        self._mask[time], self._rewards[time] = alive, step.rewards
        self.observations[time + 1] = step.observations
        if step.successes is not None:
            earlier = np.zeros(len(alive), bool) if self._successes is None else self._successes
            self._successes = earlier | (alive & step.successes)
        over = step.terminated | step.truncated
        finishing = alive & over
        if finishing.any() or time == self._horizon - 1:
            closing = finishing | (alive if time == self._horizon - 1 else False)
            self._last[closing] = self.observations[time + 1][closing]
            self._terminated |= finishing & step.terminated
            self.alive = alive & ~closing
        self.time += 1
        return over

    def trajectories(self) -> Trajectories:
        """The episodes as tensors."""
        layout, length = self._layout, self.time
        actions = torch.stack(self._actions)
        mask = layout.over_time(self._mask[:length])
        return Trajectories(
            observations=layout.over_time(self.observations[:length]),
            actions=layout.over_time(actions),
            rewards=layout.over_time(self._rewards[:length]),
            mask=mask,
            log_probs=layout.over_time(log_probs_of(self._distributions, actions)) * mask,
            last_observations=layout.flat(self._last),
            terminated=layout.flat(self._terminated),
            successes=None if self._successes is None else layout.flat(self._successes),
        )


def log_probs_of(distributions: list[Distribution], actions: Tensor) -> Tensor:
    """Log-probabilities of the actions of each time step, [T, N, E, ...], in one call: [T, N, E].

    Where all tasks share their parameters, a spread lacks the dimension of tasks: it gets one of size 1.
    """
    stacked = [torch.stack(parts) for parts in zip(*distributions, strict=True)]
    dims = max(part.dim() for part in stacked)
    aligned = (part.view(len(part), *[1] * (dims - part.dim()), *part.shape[1:]) for part in stacked)
    return type(distributions[0])(*aligned).log_prob(actions)
