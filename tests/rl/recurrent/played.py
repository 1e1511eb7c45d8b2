"""Small recurrent policies and the trials they live through, for several files of tests."""

from collections.abc import Callable

import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.types import Params
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig, RecurrentPolicy, recurrent_for
from maml_rl.rl.recurrent.trials import sample_trials
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from maml_rl.rl.sampling.trajectories import Trajectories

SMALL = RecurrentConfig(units=6, encoder=[5], output_scale=1.0)
NAVIGATION = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 6})
STATISTICS = {name: torch.zeros((), dtype=torch.float64) for name in ("seen", "mean", "square")}


def parameters(policy: RecurrentPolicy) -> Params:
    """Random ones, so that no head or bias is zero."""
    generator = torch.Generator().manual_seed(1)
    drawn = policy.initial(generator, torch.float64)
    return {name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator).double() for name, leaf in drawn.items()}


def made(
    environment: EnvironmentConfig, tasks: int, copies: int, policy: RecurrentPolicy | None = None
) -> tuple[Sampler, RecurrentPolicy, Params]:
    """A sampler, a policy for it, and parameters."""
    sampler = Sampler(environment, tasks, copies, torch.device("cpu"), torch.float64)
    envs = sampler.stepper.envs
    policy = policy or recurrent_for(SMALL, envs.single_observation_space, envs.single_action_space)
    return sampler, policy, parameters(policy)


def seeds_of(tasks: int) -> Callable[[int], list[SeedSequence]]:
    """The tasks' seeds in each episode."""
    return lambda episode: task_seeds(3, 0, 0, episode, tasks)


def trials_of(
    environment: EnvironmentConfig, tasks: int = 3, episodes: int = 3, policy: RecurrentPolicy | None = None
) -> tuple[RecurrentPolicy, dict[str, Tensor], list[Trajectories]]:
    """A policy, its parameters, and the episodes of two trials of each task."""
    sampler, policy, params = made(environment, tasks, 2, policy)
    drawn = sampler.stepper.draw_tasks(SeedSequence(0))
    played = sample_trials(sampler, policy, params, drawn, seeds_of(tasks), episodes)
    sampler.close()
    return policy, params, played
