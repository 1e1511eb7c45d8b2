"""What systems that train policies share: environments, seeds, held-out tasks, and the metrics of returns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import gymnasium as gym
import torch

from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.environments.vector import EnvironmentConfig, held_out, make_single
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import StepSeeds, drawing_seed, task_seeds
from maml_rl.rl.sampling.trajectories import Trajectories
from maml_rl.systems.evaluation import Measure
from maml_rl.systems.policy_evaluation import PolicyOptions
from maml_rl.systems.settings import device_of, generator_of, require
from maml_rl.systems.system import Gain, MetricRoles, Metrics, RunConfig, System

__all__ = ["HeldOut", "PolicyRunConfig", "PolicySystem", "return_metrics"]

_TRAINING, _EVALUATION, _INITIALISATION = range(3)  # streams of random numbers, kept apart
_GROUPS = {"return": "return", "success": "return", "adaptation": "return", "surrogate": "meta_update",
           "kl": "meta_update", "line": "meta_update", "curvature": "meta_update", "cg": "meta_update"}  # fmt: skip


@dataclass(frozen=True)
class PolicyRunConfig(RunConfig):
    """What every run that trains a policy has. The simulation runs on the CPU, whatever the device.

    Attributes:
        environment: the task distribution.
        tasks: N, tasks in a meta-batch (Finn et al., 2017: 20 for navigation, 40 for locomotion).
    """

    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    tasks: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require("tasks", self.tasks > 0, "at least 1", self.tasks)


ConfigT = TypeVar("ConfigT", bound=PolicyRunConfig)
OptionsT = TypeVar("OptionsT", bound=PolicyOptions)


class HeldOut(NamedTuple):
    """Held-out tasks, a sampler of as many, and the tasks' seeds at each inner step or episode."""

    tasks: list[Task]
    sampler: Sampler
    seeds: StepSeeds


class PolicySystem(System[ConfigT, OptionsT]):
    """Environments, seeds and tasks. The training environments are made by `prepare`, or when they are first used.

    Args:
        config: of the run.
        episodes: per task and call of the sampler.
        adapts: whether a gain over the first point is to be expected.

    Raises:
        ValueError: a device or an environment there is none of.
    """

    def __init__(self, config: ConfigT, episodes: int, adapts: bool) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dtype: torch.dtype = getattr(torch, config.precision)
        self.tasks_name = config.environment.id
        self.measure = Measure("return", True, digits=2)
        gain = Gain("adaptation_gain", "return_before") if adapts else None
        self.roles = MetricRoles("return_after", "return_after", ("env_steps",), gain, _GROUPS)
        self.held_out_environment = held_out(config.environment)
        self._episodes = episodes
        env = make_single(self.held_out_environment)
        self.spaces: tuple[gym.Space[Any], gym.Space[Any]] = (env.observation_space, env.action_space)
        env.close()

    @property
    def default_steps(self) -> int:
        """Steps of adaptation that an evaluation takes where nothing is said."""
        return 3

    @cached_property
    def sampler(self) -> Sampler:
        """Of the training environments."""
        return self._sampler(self.config.environment, self.config.tasks, self._episodes)

    def prepare(self) -> None:
        """Makes the training environments and lets them take a step."""
        stepper = self.sampler.stepper
        stepper.try_out()
        own = (stepper.envs.single_observation_space, stepper.envs.single_action_space)
        if (gym.spaces.flatdim(own[0]), own[1]) != (gym.spaces.flatdim(self.spaces[0]), self.spaces[1]):
            raise ValueError(
                f"`environment.held_out` {self.config.environment.held_out} gives other observations or actions than "
                "training."
            )

    def close(self) -> None:
        """Closes the training environments."""
        if "sampler" in self.__dict__:
            self.sampler.close()

    def resolve(self, options: OptionsT) -> OptionsT:
        """The options with 40 tasks and `default_steps` where nothing is given."""
        steps = self.default_steps if options.steps is None else options.steps
        return replace(options, steps=steps, tasks=40 if options.tasks is None else options.tasks)

    def initial_generator(self) -> torch.Generator:
        """Of the initial parameters."""
        return generator_of(self.config.seed, _INITIALISATION)

    def training_tasks(self, iteration: int) -> tuple[list[Task], StepSeeds]:
        """The tasks of an iteration, and their seeds at each inner step or episode."""
        seed, count = self.config.seed, self.config.tasks
        tasks = self.sampler.stepper.draw_tasks(drawing_seed(seed, _TRAINING, iteration))
        return tasks, lambda step: task_seeds(seed, _TRAINING, iteration, step, count)

    @contextmanager
    def held_out(self, seed: int, tasks: int | Sequence[Task], episodes: int) -> Iterator[HeldOut]:
        """So many tasks in a stream that training never draws from, or the given ones, for a `with` block."""
        count = tasks if isinstance(tasks, int) else len(tasks)
        sampler = self._sampler(self.held_out_environment, count, episodes)
        try:
            seeded = drawing_seed(seed, _EVALUATION, 0)
            drawn = sampler.stepper.draw_tasks(seeded) if isinstance(tasks, int) else list(tasks)
            yield HeldOut(drawn, sampler, lambda step: task_seeds(seed, _EVALUATION, 0, step, count))
        finally:
            sampler.close()

    def _sampler(self, environment: EnvironmentConfig, tasks: int, episodes: int) -> Sampler:
        return Sampler(environment, tasks, episodes, self.device, self.dtype)


def return_metrics(points: Sequence[Trajectories]) -> Metrics:
    """Mean returns at each point, their gain from the first to the last, and rates of success where there are any."""
    returns = [float(trajectories.returns.mean()) for trajectories in points]
    metrics = {f"return_step_{step}": value for step, value in enumerate(returns)}
    per_task = (points[-1].returns - points[0].returns).mean(-1)
    error = float(per_task.std() / len(per_task) ** 0.5) if len(per_task) > 1 else float("nan")
    for step, trajectories in enumerate(points):
        if trajectories.successes is not None:
            metrics[f"success_step_{step}"] = float(trajectories.successes.float().mean())
    return {
        **metrics,
        "return_before": returns[0],
        "return_after": returns[-1],
        "adaptation_gain": returns[-1] - returns[0],
        "adaptation_gain_stderr": error,
    }
