"""What systems that train policies share: environments, seeds, held-out tasks, and the metrics of returns."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.random import SeedSequence

from maml_rl.rl.collect import Collected
from maml_rl.rl.environments.task_env import Task, VectorTaskEnv
from maml_rl.rl.environments.vector import EnvironmentConfig, held_out, make_single
from maml_rl.rl.sampler import Sampler, drawing_seed, task_seeds
from maml_rl.systems.settings import device_of

__all__ = ["HeldOut", "PolicySystem", "return_metrics"]

_TRAINING, _EVALUATION, _INITIALISATION = range(3)  # streams of random numbers, kept apart


class HeldOut(NamedTuple):
    """Held-out tasks, a sampler of as many, and ``seeds(step)``, the tasks' seeds at an inner step or episode."""

    tasks: list[Task]
    sampler: Sampler
    seeds: Callable[[int], list[SeedSequence]]


class PolicySystem:
    """Environments of a training run, and what the training loop and evaluations ask of any policy's system.

    Args:
        config: of the run.
        episodes: per task and call of the sampler.

    Raises:
        ValueError: a device or an environment there is none of.
    """

    kind = "reinforcement-learning"

    def __init__(self, config: Any, episodes: int) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dtype: torch.dtype = getattr(torch, config.precision)
        torch.set_num_threads(config.torch_threads)
        self.sampler = self._sampler(config.tasks, episodes)
        self.spaces = self.sampler.envs.single_observation_space, self.sampler.envs.single_action_space
        self.selection_metric, self.keep, self.report_every = "return_after", 1, 1
        self.sampler.try_out()
        _require_same_spaces(config.environment, self.sampler.envs)

    def validate(self, state: dict[str, Any], iteration: int) -> dict[str, float]:
        """Nothing: a run's best policy is told by the returns of its own training episodes."""
        return {}

    def data_identity(self) -> dict[str, str]:
        """Nothing: tasks come from the environment alone."""
        return {}

    def close(self) -> None:
        """Closes the environments."""
        self.sampler.close()

    def initial_generator(self) -> torch.Generator:
        """Of the initial parameters."""
        (word,) = SeedSequence([self.config.seed, _INITIALISATION]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(word >> np.uint64(1)))

    def training_tasks(self, iteration: int) -> tuple[list[Task], Callable[[int], list[SeedSequence]]]:
        """The tasks of an iteration, and their seeds at each inner step or episode."""
        seed, count = self.config.seed, self.config.tasks
        tasks = self.sampler.sample_tasks(drawing_seed(seed, _TRAINING, iteration))
        return tasks, lambda step: task_seeds(seed, _TRAINING, iteration, step, count)

    @contextmanager
    def held_out(self, seed: int, tasks: int, episodes: int, chosen: Sequence[Task] | None) -> Iterator[HeldOut]:
        """Tasks in a stream that training never draws from, or the chosen ones, for a `with` block."""
        sampler = self._sampler(tasks, episodes)
        try:
            drawn = list(chosen) if chosen else sampler.sample_tasks(drawing_seed(seed, _EVALUATION, 0))
            yield HeldOut(drawn, sampler, lambda step: task_seeds(seed, _EVALUATION, 0, step, tasks))
        finally:
            sampler.close()

    def _sampler(self, tasks: int, episodes: int) -> Sampler:
        return Sampler(self.config.environment, tasks, episodes, self.device, self.dtype)


def return_metrics(collected: Collected) -> dict[str, float]:
    """Mean returns at each point, their gain from the first to the last, and rates of success where there are any."""
    returns = [float(trajectories.returns.mean()) for trajectories in collected.trajectories]
    metrics = {f"return_step_{step}": value for step, value in enumerate(returns)}
    per_task = (collected.trajectories[-1].returns - collected.trajectories[0].returns).mean(-1)
    spread = float(per_task.std() / len(per_task) ** 0.5) if len(per_task) > 1 else float("nan")
    for step, trajectories in enumerate(collected.trajectories):
        if trajectories.successes is not None:
            metrics[f"success_step_{step}"] = float(trajectories.successes.float().mean())
    return {
        **metrics,
        "return_before": returns[0],
        "return_after": returns[-1],
        "adaptation_gain": returns[-1] - returns[0],
        "adaptation_gain_stderr": spread,
    }


def _require_same_spaces(config: EnvironmentConfig, envs: VectorTaskEnv) -> None:
    """Raises `ValueError` if the environment of held-out tasks cannot be made, or has other spaces."""
    if not config.held_out:
        return
    env = make_single(held_out(config))
    spaces = (env.observation_space.shape, env.action_space)
    env.close()
    if spaces != ((gym.spaces.flatdim(envs.single_observation_space),), envs.single_action_space):
        raise ValueError(f"`environment.held_out` {config.held_out} gives other observations or actions than training.")
