"""Meta-gradient reinforcement learning: hyper-parameters learned online, by a gradient through the update of a learner
that never starts afresh (Xu et al., 2018; bootstrapped: Flennerhag et al., 2021).
"""

import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from time import perf_counter
from typing import Any

import gymnasium as gym
import torch
from numpy.random import SeedSequence
from torch import Tensor
from tqdm import tqdm

from maml_rl.core.estimators import Carry, Estimator, Lifetimes, bootstrapped, decayed_trace, present, truncated_unroll
from maml_rl.core.meta_optimisers import adam
from maml_rl.core.schedules import constant
from maml_rl.core.tree import map_tree, place
from maml_rl.core.types import Memory, Meta
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.environments.vector import EnvironmentConfig, held_out, make_single
from maml_rl.rl.online.actor_critic import actor_critic
from maml_rl.rl.online.collect import Collector, Window
from maml_rl.rl.online.hyperparameters import FIXED, hyperparameter
from maml_rl.rl.online.learner import OnlineLearner, OwnParameters
from maml_rl.rl.policies import policy_for
from maml_rl.rl.sampling import sampler as sampling
from maml_rl.rl.sampling.seeds import StepSeeds, drawing_seed, task_seeds
from maml_rl.systems import system
from maml_rl.systems.evaluation import Evaluation, Measure, Progress
from maml_rl.systems.meta_gradient_config import Config
from maml_rl.systems.meta_gradient_evaluation import LifetimeOptions, evaluated
from maml_rl.systems.meta_gradient_metrics import Measured, measured, roles_of
from maml_rl.systems.settings import device_of, generator_of
from maml_rl.systems.system import Metrics, State

__all__ = ["Config", "System"]

_TRAINING, _EVALUATION, _INITIALISATION, _ESTIMATES = range(4)  # streams of random numbers, kept apart
_PREDICTION, _CONTROL = Measure("value_error", False, "error of values", 4), Measure("reward", True, "reward a step", 4)


class System(system.System[Config, LifetimeOptions]):
    """The wiring. State is ``{"meta", "fixed", "optimiser", "lifetimes", "environments", "sums"}``: learned and fixed
    hyper-parameters, Adam's memory, where the learners and where the environments stand, and each lifetime's reward.

    Where there is one action only, nothing but values can be learned: then it measures their error, if the environment
    knows the true ones.

    Raises:
        ValueError: a device or an environment there is none of.
    """

    Options = LifetimeOptions

    def __init__(self, config: Config) -> None:
        self.config, self.report_every = config, config.report_every
        self.device, self.dtype = device_of(config.device), getattr(torch, config.precision)
        self.tasks_name, self.count = config.environment.id, config.seeds * len(config.settings)
        self.held_out_environment = held_out(config.environment)
        env = make_single(self.held_out_environment)
        self.observations, self.actions = gym.spaces.flatdim(env.observation_space), env.action_space
        self.predicts = getattr(self.actions, "n", 0) == 1 and knows_values(env)
        self.learner = self._learner(policy_for(config.policy, env.observation_space, env.action_space))
        env.close()
        self.measure = _PREDICTION if self.predicts else _CONTROL
        self.columns = Columns.of(config)
        tables = {name: config.hyperparameters[name].learned == "table" for name in config.learned}
        entries = {name: self.observations if table else 0 for name, table in tables.items()}
        self.roles = roles_of(config, self.columns, entries, self.predicts)
        self._lifetimes = self._side_by_side(self.count)
        self._estimator, self._optimiser = self._made_estimator(), adam(constant(config.meta.learning_rate))
        self._reported = self._lifetimes.mapped(self.learner.reported)

    @cached_property
    def lives(self) -> Lives:
        """The lifetimes that are trained; seeds have the same tasks in every setting."""
        config = self.config
        sampler = self._sampler(config.environment, self.count)
        drawn = sampler.stepper.draw_tasks(drawing_seed(config.seed, _TRAINING, 0))[: config.seeds]
        return Lives(self.learner, self._lifetimes, sampler, drawn * len(config.settings), config.rollout)

    def prepare(self) -> None:
        """Makes the environments and lets them take a step; looks whether tables have a place for each observation."""
        self.lives.sampler.stepper.try_out()
        start = self.lives.sampler.start(self.lives.collector.actor, self.lives.tasks, self._seeds(_TRAINING, 0)(0))
        one_hot = ((start.observations == 1).sum(-1) == 1) & ((start.observations != 0).sum(-1) == 1)
        tables = [name for name, config in self.config.hyperparameters.items() if config.learned == "table"]
        if tables and not one_hot.all():
            raise ValueError(
                f"`{tables[0]}.learned` 'table' has a number for each state and needs one-hot observations, which "
                f"{self.tasks_name} has not: take 'state'."
            )

    def close(self) -> None:
        """Closes the environments."""
        if "lives" in self.__dict__:
            self.lives.sampler.close()

    def initial_state(self) -> State:
        """Learners that have not begun, in environments that have."""
        generators = [generator_of(self.config.seed + index % self.config.seeds, _INITIALISATION) for index in
                      range(self.count)]  # fmt: skip
        settings = [setting for setting in self.config.settings for _ in range(self.config.seeds)]
        meta: Meta = {}
        for part in self.learner.own:
            starts = [part.start(setting[part.name], generator, self.dtype) for setting, generator in
                      zip(settings, generators, strict=True)]  # fmt: skip
            if starts[0]:
                meta[part.name] = {name: torch.stack([start[name] for start in starts]) for name in starts[0]}
        fixed = {name: torch.tensor([setting[name] for setting in settings], dtype=self.dtype) for name in settings[0]}
        meta, fixed = place(meta, self.device), place(fixed, self.device)
        return {
            "meta": meta,
            "fixed": fixed,
            "optimiser": self._optimiser.init(meta),
            "lifetimes": self._estimator.init({**meta, FIXED: fixed}, self._generator(_ESTIMATES, 0)),
            "environments": self.lives.start(self._seeds(_TRAINING, 0)(0)),
            "sums": torch.zeros(self.count, dtype=torch.float64),
        }

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """A window of rollouts and one meta-update: the next state, and metrics of the window."""
        began, meta, theta = perf_counter(), state["meta"], {**state["meta"], FIXED: state["fixed"]}
        window, environments = self.lives.window(
            theta, state["lifetimes"], state["environments"], self._seeds(_TRAINING, iteration + 1), self._rollouts
        )
        sampled = perf_counter()
        optimiser, memory, finite, told = state["optimiser"], *self._learned(theta, state["lifetimes"], window, iteration)
        if meta:
            gradient = {group: told.gradient[group] for group in meta}
            update = self._optimiser.update(meta, optimiser, lambda _: (gradient, ()), iteration)
            meta, optimiser = update.meta, update.memory
        rewards = window.data.rewards
        gained = rewards.flatten(1).sum(1).double().cpu()
        metrics = {}
        following = {
            "meta": meta,
            "fixed": state["fixed"],
            "optimiser": optimiser,
            "lifetimes": memory,
            "environments": environments,
            "sums": state["sums"] + gained,
        }
        return following, metrics
