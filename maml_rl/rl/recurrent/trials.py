"""Trials of a recurrent policy: consecutive episodes of one task, over which its memory goes on (Duan et al., 2016)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.types import Memory, Params
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.recurrent.gru_policy import RecurrentPolicy
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import StepSeeds
from maml_rl.rl.sampling.trajectories import Trajectories

__all__ = ["Trials", "pack", "sample_trials"]


def sample_trials(
    sampler: Sampler,
    policy: RecurrentPolicy,
    params: Params,
    tasks: Sequence[Task],
    seeds: StepSeeds,
    episodes: int,
    progress: Callable[[int, int], Any] | None = None,
) -> list[Trajectories]:
    """The consecutive episodes of E trials of each task.

    Args:
        sampler: of as many tasks as there are; E is its episodes.
        policy: the policy.
        params: its parameters, the same for all tasks.
        tasks: N of them.
        seeds: the tasks' seeds in each episode.
        episodes: of a trial.
        progress: called after each of them.

    Raises:
        SimulationError: see `Sampler.sample`.
    """
    actor = policy.actor()
    memory: Memory | None = None
    played = []
    for episode in range(episodes):
        trajectories, memory = sampler.sample(actor, params, tasks, seeds(episode), memory)
        played.append(trajectories)
        if progress is not None:
            progress(episode + 1, episodes)
    return played


class Trials(NamedTuple):
    """B = N E trials as sequences: the steps that happened one after another, whatever episode they are of.

    Attributes:
        observations: [B, L, O]; behind a trial's end anything.
        actions: [B, L, A], or [B, L] where actions are discrete.
        rewards: [B, L], zero behind a trial's end.
        episode_starts: [B, L], 1 where an episode begins.
        mask: [B, L], 1 for steps and 0 behind a trial's end.
        log_probs: [B, L], of the actions under the policy that took them, zero behind a trial's end.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    episode_starts: Tensor
    mask: Tensor
    log_probs: Tensor


def pack(episodes: Sequence[Trajectories]) -> Trials:
    """Joins the consecutive episodes of each trial, in their order."""
    mask = _joined([episode.mask for episode in episodes])
    longest = int(mask.sum(-1).max())
    order = (mask == 0).to(torch.int8).argsort(dim=-1, stable=True)[:, :longest]

    def sequence(parts: Sequence[Tensor]) -> Tensor:
        whole = _joined(parts)
        places = order.view(*order.shape, *[1] * (whole.dim() - 2)).expand(*order.shape, *whole.shape[2:])
        return whole.gather(1, places)

    return Trials(
        observations=sequence([episode.observations for episode in episodes]),
        actions=sequence([episode.actions for episode in episodes]),
        rewards=sequence([episode.rewards for episode in episodes]),
        episode_starts=sequence([_first(episode.mask) for episode in episodes]),
        mask=sequence([episode.mask for episode in episodes]),
        log_probs=sequence([episode.log_probs for episode in episodes]),
    )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """[N, E, T, ...] of each episode as [B, sum of T, ...]."""
    return torch.cat([part.flatten(0, 1) for part in parts], dim=1)


def _first(mask: Tensor) -> Tensor:
    """1 at each episode's first step."""
    first = torch.zeros_like(mask)
    first[..., 0] = 1
    return first
