"""Meta-gradient reinforcement learning: hyper-parameters learned online, by a gradient through the update of a learner
that never starts afresh (Xu et al., 2018; bootstrapped: Flennerhag et al., 2021).
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from maml_rl.core.estimators import Carry, Lifetimes, truncated_unroll
from maml_rl.core.meta_optimisers import adam
from maml_rl.core.schedules import constant
from maml_rl.core.traced import require_compiler
from maml_rl.core.tree import map_tree, place, select
from maml_rl.core.types import Memory, Meta
from maml_rl.rl.environments.task_env import HasStateValues, task_env_of
from maml_rl.rl.environments.vector import EnvironmentConfig, held_out, make_single
from maml_rl.rl.online.actor_critic import actor_critic
from maml_rl.rl.online.collect import Window
from maml_rl.rl.online.hyperparameters import FIXED, hyperparameter
from maml_rl.rl.online.learner import OnlineLearner, OwnParameters
from maml_rl.rl.online.lives import Lives
from maml_rl.rl.policies import policy_for
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import StepSeeds, drawing_seed, task_seeds
from maml_rl.systems import system
from maml_rl.systems.evaluation import Evaluation, Measure, Progress
from maml_rl.systems.meta_gradient_config import Config
from maml_rl.systems.meta_gradient_estimators import estimator_of, weighed_data
from maml_rl.systems.meta_gradient_evaluation import LifetimeOptions, evaluation_of, segments
from maml_rl.systems.meta_gradient_metrics import Columns, roles_of
from maml_rl.systems.settings import device_of, generator_of
from maml_rl.systems.system import Metrics, State

__all__ = ["Config", "System"]

_TRAINING, _EVALUATION, _INITIALISATION, _ESTIMATES = range(4)  # streams of random numbers, kept apart
_TOLD = 5  # diverged lifetimes of an iteration that are named
_PREDICTION, _CONTROL = Measure("value_error", False, "error of values", 4), Measure("reward", True, "reward a step", 4)


class System(system.System[Config, LifetimeOptions]):
    """The wiring. State is ``{"meta", "fixed", "optimiser", "lifetimes", "environments", "sums"}``: learned and fixed
    hyper-parameters, Adam's memory, where the learners and, as text, where the environments stand, and each lifetime's
    reward.

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
        self._choiceless = isinstance(env.action_space, gym.spaces.Discrete) and env.action_space.n == 1
        self.predicts = self._choiceless and _knows_values(env)
        self.learner = self._learner(env.observation_space, env.action_space)
        observations = gym.spaces.flatdim(env.observation_space)
        env.close()
        self.measure = _PREDICTION if self.predicts else _CONTROL
        self.columns = Columns.of(config)
        tables = {name: config.hyperparameters[name].learned == "table" for name in config.learned}
        entries = {name: observations if table else 0 for name, table in tables.items()}
        self.roles = roles_of(config, self.columns, entries, self.predicts)
        self._lifetimes = self._side_by_side(self.count, config.compiled)
        self._estimator = estimator_of(config.meta, self.learner, self._lifetimes)
        self._optimiser = adam(constant(config.meta.learning_rate))
        self._reported = self._lifetimes.uncompiled().mapped(self.learner.reported)

    @cached_property
    def lives(self) -> Lives:
        """The lifetimes that are trained; seeds have the same tasks in every setting."""
        config = self.config
        sampler = self._sampler(config.environment, self.count, config.compiled)
        drawn = sampler.stepper.draw_tasks(drawing_seed(config.seed, _TRAINING, 0), config.seeds)
        return Lives(self.learner, self._lifetimes, sampler, drawn * len(config.settings), config.rollout)

    def prepare(self) -> None:
        """Makes the environments and lets them take a step; looks whether tables have a place for each observation,
        whether there is anything to learn from, and whether there is a compiler where one is needed."""
        if self._choiceless:
            self.config.require_prediction()
        if self.config.compiled:
            require_compiler(self.device)
        self.lives.sampler.stepper.try_out()
        start = self.lives.sampler.start(self.lives.collector.actor, self.lives.tasks, self._seeds(_TRAINING, 0)(0))
        one_hot = ((start.observations == 1).sum(-1) == 1) & ((start.observations != 0).sum(-1) == 1)
        hyperparameters = self.config.hyperparameters.items()
        tables = [f"{name}.learned" for name, config in hyperparameters if config.learned == "table"]
        tables += ["critic.table"] * self.config.critic.table
        if tables and not one_hot.all():
            raise ValueError(
                f"`{tables[0]}`: a table has a number for each state and needs one-hot observations, which "
                f"{self.tasks_name} has not."
            )

    def close(self) -> None:
        """Closes the environments."""
        if "lives" in self.__dict__:
            self.lives.sampler.close()

    def initial_state(self) -> State:
        """Learners and environments that have not begun; what is drawn for a seed is the same in every setting."""
        seeds, settings = self.config.seeds, self.config.settings
        each = [setting for setting in settings for _ in range(seeds)]
        generators = [generator_of(self.config.seed, _INITIALISATION, seed) for _ in settings for seed in range(seeds)]
        meta: Meta = {}
        for part in self.learner.own:
            chosen = zip(each, generators, strict=True)
            starts = [part.start(setting[part.name], generator, self.dtype) for setting, generator in chosen]
            if starts[0]:
                meta[part.name] = {name: torch.stack([start[name] for start in starts]) for name in starts[0]}
        fixed = {name: torch.tensor([setting[name] for setting in each], dtype=self.dtype) for name in each[0]}
        meta, fixed = place(meta, self.device), place(fixed, self.device)
        lifetimes = self._estimator.init({**meta, FIXED: fixed}, generator_of(self.config.seed, _ESTIMATES, 0))
        lifetimes["seed"] = lifetimes["seed"][:seeds].repeat(len(settings))
        return {
            "meta": meta,
            "fixed": fixed,
            "optimiser": self._optimiser.init(meta),
            "lifetimes": lifetimes,
            "environments": "",
            "sums": torch.zeros(self.count, dtype=torch.float64),
        }

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """A window of rollouts and one meta-update: the next state, and metrics of the window for `row`."""
        began, meta, optimiser = perf_counter(), state["meta"], state["optimiser"]
        theta = {**meta, FIXED: state["fixed"]}
        seeds = self._seeds(_TRAINING, iteration)
        window, environments = self.lives.window(
            theta, state["lifetimes"], state["environments"], seeds, self._estimator.steps
        )
        sampled, told = perf_counter(), {}
        if meta:
            generator = generator_of(self.config.seed, _ESTIMATES, iteration + 1)
            data = weighed_data(self.config.meta, window.data, iteration)
            estimate = self._estimator.estimate(theta, state["lifetimes"], data, generator)
            finite, lifetimes = estimate.losses.isfinite() & window.finite, estimate.memory
            lifetimes["step"] = torch.where(finite, lifetimes["step"], torch.zeros_like(lifetimes["step"]))
            slopes = {group: estimate.gradient[group] for group in meta}
            gradient = select(finite, slopes, map_tree(torch.zeros_like, slopes))
            update = self._optimiser.update(meta, optimiser, lambda _: (gradient, ()), iteration)
            meta, optimiser = update.meta, update.memory
            told = {name: value for name, value in estimate.metrics.items() if name not in ("finished", "diverged")}
        else:
            lifetimes, finite = self.lives.collector.lived_on(theta, state["lifetimes"], window)
        self._tell(iteration, finite)
        updated, rewards = perf_counter(), window.data.rewards
        gained = rewards.flatten(1).double().sum(1).cpu()  # by each lifetime, [N]
        metrics = {
            **self._measured(theta, window, lifetimes, finite),
            **self.columns.each("reward", rewards.flatten(1).mean(1)),
            **self.columns.sums("cumulative_reward", gained),
            **told,
            "diverged": float((~finite).sum()),
            "env_steps": float(rewards[0].numel()),
            "sampling_s": sampled - began,
            "meta_update_s": updated - sampled,
            "steps_per_s": rewards.numel() / (updated - began),
        }
        following = {
            "meta": meta,
            "fixed": state["fixed"],
            "optimiser": optimiser,
            "lifetimes": lifetimes,
            "environments": environments,
            "sums": state["sums"] + gained,
        }
        return following, metrics

    def row(self, means: Metrics, state: State) -> Metrics:
        """Means over lifetimes with intervals."""
        return {**self.columns.row(means), **self.columns.intervals("cumulative_reward", state["sums"])}

    def resolve(self, options: LifetimeOptions) -> LifetimeOptions:
        """The options with 10 segments behind the first and 5 tasks where nothing is given."""
        steps = 10 if options.steps is None else options.steps
        return replace(options, steps=steps, tasks=5 if options.tasks is None else options.tasks)

    def evaluate(
        self, states: Sequence[State], options: LifetimeOptions, progress: Progress | None = None
    ) -> Evaluation:
        """Learners that begin anew on held-out tasks, with the hyper-parameters of each lifetime of the run.

        Settings have the same tasks, seeds and first weights.
        """
        tasks, settings = options.tasks or 0, len(self.config.settings)
        count = tasks * self.count
        theta = place({**states[0]["meta"], FIXED: states[0]["fixed"]}, self.device)
        theta = map_tree(lambda leaf: leaf.repeat_interleave(tasks, 0), theta)
        sampler = self._sampler(self.held_out_environment, count, compiled=False)
        try:
            drawn = sampler.stepper.draw_tasks(drawing_seed(options.seed, _EVALUATION, 0), tasks)
            lifetimes = self._side_by_side(count, compiled=False)
            lives = Lives(self.learner, lifetimes, sampler, drawn * self.count, self.config.rollout)
            generator = generator_of(options.seed, _EVALUATION)
            memory = truncated_unroll(self.learner.problem(), lifetimes, 1).init(theta, generator)
            each = count // settings
            memory["seed"] = memory["seed"][:each].repeat(settings)
            values = segments(
                lives,
                theta,
                memory,
                lambda window: lambda step: task_seeds(options.seed, _EVALUATION, window, step, each) * settings,
                self._value_errors(lives, lifetimes)
                if self.predicts
                else lambda rewards, _: rewards.flatten(1).mean(1),
                options,
                progress,
            )
        finally:
            sampler.close()
        environment = self.held_out_environment
        done = {"environment": environment.id, "arguments": environment.arguments, "updates": options.updates}
        return evaluation_of(values, drawn, self.measure, self.columns, done)

    def _learner(self, observations: gym.Space[Any], actions: gym.Space[Any]) -> OnlineLearner:
        config, size = self.config, gym.spaces.flatdim(observations)
        own = [hyperparameter(name, each, size, config.memory) for name, each in config.hyperparameters.items()]
        agent = actor_critic(policy_for(config.policy, observations, actions), size, config.critic)
        return OnlineLearner(agent, OwnParameters(*own), config.learner, config.meta.loss, config.memory, self.dtype)

    def _measured(self, theta: Meta, window: Window, memory: Memory, finite: Tensor) -> Metrics:
        """Hyper-parameters in the window's last rollout, and the error of values behind it where a lifetime goes on."""
        last = map_tree(lambda leaf: leaf[:, -1], window.data)
        with torch.no_grad():
            quantities = self._reported(theta, window.last, last)
            if self.predicts:
                errors = self._errors(window.data.rewards, memory["carry"])
                quantities["value_error"] = torch.where(finite, errors, torch.nan)
        return {name: value for quantity in quantities.items() for name, value in self.columns.each(*quantity).items()}

    @cached_property
    def _errors(self) -> Callable[[Tensor, Carry], Tensor]:
        return self._value_errors(self.lives, self._lifetimes)

    def _value_errors(self, lives: Lives, lifetimes: Lifetimes) -> Callable[[Tensor, Carry], Tensor]:
        """``errors(rewards, carry)``: root mean square over states of v - V in each lifetime, [N]."""
        known = lives.sampler.stepper.envs
        assert isinstance(known, HasStateValues)
        each = [known.state_values(task) for task in lives.tasks]
        seen, true = (torch.as_tensor(np.stack(part)).to(self.device, self.dtype) for part in zip(*each, strict=True))
        values = torch.func.vmap(self.learner.agent.values)
        return lambda rewards, carry: (values(carry["params"], seen) - true).square().mean(-1).sqrt()

    def _tell(self, iteration: int, finite: Tensor) -> None:
        """Names lifetimes that diverged, the first few of many."""
        indices = (~finite).nonzero().flatten().tolist()
        for index in indices[:_TOLD]:
            told = f"{self.columns.called(index)} diverged on task {self.lives.tasks[index]}; it begins anew."
            tqdm.write(f"warning: iteration {iteration}: {told}")
        if len(indices) > _TOLD:
            tqdm.write(f"warning: iteration {iteration}: so did {len(indices) - _TOLD} others.")

    def _side_by_side(self, count: int, compiled: bool) -> Lifetimes:
        limit, traced = self.config.loss_limit, self.config.traced
        return Lifetimes(
            count, sys.maxsize, loss_limit=limit, apart=True, traced=traced, compiled=compiled, stepwise=compiled
        )

    def _sampler(self, environment: EnvironmentConfig, count: int, compiled: bool) -> Sampler:
        return Sampler(environment, count, self.config.environments, self.device, self.dtype, compiled)

    def _seeds(self, stream: int, iteration: int) -> StepSeeds:
        """Of each rollout; the same in every setting."""
        config = self.config
        return lambda step: task_seeds(config.seed, stream, iteration, step, config.seeds) * len(config.settings)


def _knows_values(env: gym.Env) -> bool:
    """Whether the environment says what is to be predicted."""
    known = env.unwrapped
    if not isinstance(known, HasStateValues):
        return False
    (task,) = task_env_of(env).sample_tasks(1, np.random.default_rng(0))
    return known.state_values(task) is not None
