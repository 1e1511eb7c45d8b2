"""Trials of a recurrent policy: consecutive episodes of one task, over which its memory goes on (Duan et al., 2016)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.types import Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.policies import Policy
from maml_rl.rl.recurrent.gru_policy import RecurrentPolicy
from maml_rl.rl.sampler import Sampler
from maml_rl.rl.trajectories import Trajectories

__all__ = ["Memory", "Trials", "blank", "pack", "play", "sample_trials"]


class Memory(NamedTuple):
    """What a trial carries from step to step, and from episode to episode.

    Attributes:
        hidden: the recurrent state, [N, E, H].
        codes: the last action as the policy reads it, [N, E, C].
        rewards: the last reward, [N, E].
    """

    hidden: Tensor
    codes: Tensor
    rewards: Tensor


def blank(policy: RecurrentPolicy, sampler: Sampler) -> Memory:
    """The memory before a trial's first step: zeros."""
    hidden, codes, rewards = (
        torch.zeros(sampler.tasks, sampler.episodes, *size, dtype=sampler.dtype, device=sampler.device)
        for size in ((policy.units,), (policy.code_size,), ())
    )
    return Memory(hidden, codes, rewards)


def play(
    sampler: Sampler,
    policy: RecurrentPolicy,
    params: Params,
    memory: Memory,
    tasks: Sequence[Task],
    seeds: Sequence[SeedSequence],
) -> tuple[Trajectories, Memory]:
    """One episode of each trial: its data, and the memory after its last step.

    Where an episode ends early, the memory stays as it was after its last step until the next one begins.

    Args:
        sampler: whose E episodes of a task are those of E trials.
        policy: the policy.
        params: its parameters, the same for all tasks.
        memory: before the episode.
        tasks: N of them.
        seeds: one for each task.

    Raises:
        SimulationError: see `Sampler.sample`.
    """
    now, ahead = memory, memory.hidden
    begins = torch.ones_like(memory.rewards)

    def act(params: Params, observations: Tensor) -> Distribution:
        nonlocal ahead
        output, ahead = policy.step(params, policy.inputs(observations, now.codes, now.rewards, begins), now.hidden)
        return output.distribution

    def remember(actions: Tensor, rewards: np.ndarray, alive: np.ndarray) -> None:
        nonlocal now, begins
        lives = torch.from_numpy(alive).to(begins.device).view_as(begins)
        paid = torch.from_numpy(np.asarray(rewards, float)).to(begins).view_as(begins)
        now = Memory(
            torch.where(lives[..., None], ahead, now.hidden),
            torch.where(lives[..., None], policy.code(actions, begins.dtype), now.codes),
            torch.where(lives, paid, now.rewards),
        )
        begins = torch.zeros_like(begins)

    acting = Policy(initial=policy.initial, act=act, draw_noise=policy.draw_noise, distribution=policy.distribution)
    return sampler.sample(acting, params, tasks, seeds, remember), now


def sample_trials(
    sampler: Sampler,
    policy: RecurrentPolicy,
    params: Params,
    tasks: Sequence[Task],
    seeds: Callable[[int], list[SeedSequence]],
    episodes: int,
    progress: Callable[[], Any] | None = None,
) -> list[Trajectories]:
    """The consecutive episodes of E trials of each task.

    Args:
        sampler: of as many tasks as there are; E is its episodes.
        policy: the policy.
        params: its parameters, the same for all tasks.
        tasks: N of them.
        seeds: ``seeds(k)`` are the tasks' seeds in episode k.
        episodes: of a trial.
        progress: called after each of them.

    Raises:
        SimulationError: see `Sampler.sample`.
    """
    memory, played = blank(policy, sampler), []
    for episode in range(episodes):
        trajectories, memory = play(sampler, policy, params, memory, tasks, seeds(episode))
        played.append(trajectories)
        if progress is not None:
            progress()
    return played


class Trials(NamedTuple):
    """B = N E trials as sequences: the steps that happened one after another, whatever episode they are of.

    Attributes:
        inputs: what the policy reads, [B, L, I]; zero behind a trial's end.
        actions: [B, L, A], or [B, L] where actions are discrete.
        rewards: [B, L], zero behind a trial's end.
        mask: [B, L], 1 for steps and 0 behind a trial's end.
        log_probs: [B, L], of the actions under the policy that took them, zero behind a trial's end.
    """

    inputs: Tensor
    actions: Tensor
    rewards: Tensor
    mask: Tensor
    log_probs: Tensor


def pack(policy: RecurrentPolicy, episodes: Sequence[Trajectories]) -> Trials:
    """Joins the consecutive episodes of each trial.

    Args:
        policy: the policy that is to read them.
        episodes: of all trials, in their order.
    """
    mask = _joined([episode.mask for episode in episodes])
    longest = int(mask.sum(-1).max())
    order = (mask == 0).to(torch.int8).argsort(dim=-1, stable=True)[:, :longest]

    def sequence(parts: Sequence[Tensor]) -> Tensor:
        whole = _joined(parts)
        places = order.view(*order.shape, *[1] * (whole.dim() - 2)).expand(*order.shape, *whole.shape[2:])
        return whole.gather(1, places)

    observations, actions, rewards, log_probs, valid = (
        sequence([getattr(episode, name) for episode in episodes])
        for name in ("observations", "actions", "rewards", "log_probs", "mask")
    )
    begins = sequence([_first(episode.mask) for episode in episodes])
    codes = policy.code(actions, rewards.dtype)
    inputs = policy.inputs(observations, _delayed(codes), _delayed(rewards), begins)
    return Trials(inputs * valid[..., None], actions, rewards, valid, log_probs)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """[N, E, T, ...] of each episode as [B, sum of T, ...]."""
    return torch.cat([part.flatten(0, 1) for part in parts], dim=1)


def _first(mask: Tensor) -> Tensor:
    """1 at each episode's first step."""
    first = torch.zeros_like(mask)
    first[..., 0] = 1
    return first


def _delayed(values: Tensor) -> Tensor:
    """The values of the step before, and zero at the first."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)
