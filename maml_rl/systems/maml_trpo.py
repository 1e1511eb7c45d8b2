"""MAML-TRPO: REINFORCE adapts to each task, a trust-region step moves the initialisation (Finn et al., 2017)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from numpy.random import SeedSequence

from maml_rl.core.modes import Mode, first_order, unrolled
from maml_rl.core.rules.sgd import Schedule, halved_after_first, listed, sgd
from maml_rl.core.trust_region import TrustRegion
from maml_rl.core.types import Params
from maml_rl.rl.collect import Collected, EstimatorConfig, collect
from maml_rl.rl.policies import PolicyConfig, policy_for
from maml_rl.rl.sampler import Sampler, drawing_seed, task_seeds
from maml_rl.rl.tasks import Task, VectorTaskEnv
from maml_rl.rl.trpo import MetaProblem, meta_step
from maml_rl.rl.vector import EnvironmentConfig, held_out, make_single
from maml_rl.systems.settings import changed_in_vain, device_of, objective_of, require

__all__ = ["Config", "MAMLTRPO"]

_TRAINING, _EVALUATION, _INITIALISATION = range(3)


@dataclass(frozen=True)
class InnerConfig:
    """Adaptation to one task.

    Attributes:
        steps: inner gradient steps in training, each with fresh trajectories (Finn et al., 2017: 1).
        rate: learning rate of the first step, halved for all later ones (Finn et al., 2017, A.2: 0.1, then 0.05); or a
            list, the rate of each step, whose last entry goes on.
        mode: "unrolled" differentiates through the inner steps, "first_order" takes their gradients as constants.
    """

    steps: int = 1
    rate: float | list[float] = 0.1
    mode: Literal["unrolled", "first_order"] = "unrolled"

    def __post_init__(self) -> None:
        require("inner.steps", self.steps >= 0, "at least 0", self.steps)
        schedule_of(self.rate)


@dataclass(frozen=True)
class OuterConfig:
    """The meta-update.

    Attributes:
        objective: "final" counts the policy after the last inner step (Finn et al., 2017), "uniform" those after each
            step alike; a list weighs all steps + 1 points.
        max_kl: largest divergence of the adapted policies in one meta-update (both public codes: 0.01).
        cg_iterations: of conjugate gradient (both public codes: 10).
        damping: added to the curvature (both public codes: 1e-5).
        line_search_steps: lengths tried (both public codes: 15).
        line_search_shrink: ratio of a tried length to the one before (both public codes: 0.8).
        curvature_share: of the samples that the curvature is estimated from, one in n, n the nearest whole number (both
            public codes: 1).
        chunk: tasks differentiated together; small chunks stay in the processor's cache, a GPU wants all tasks.
    """

    objective: Literal["final", "uniform"] | list[float] = "final"
    max_kl: float = 0.01
    cg_iterations: int = 10
    damping: float = 1e-5
    line_search_steps: int = 15
    line_search_shrink: float = 0.8
    curvature_share: float = 1.0
    chunk: int = 5

    def __post_init__(self) -> None:
        require("outer.max_kl", 0 < self.max_kl < float("inf"), "positive and finite", self.max_kl)
        require("outer.damping", 0 <= self.damping < float("inf"), "finite and at least 0", self.damping)
        require("outer.curvature_share", 0 < self.curvature_share <= 1, "in (0, 1]", self.curvature_share)
        require("outer.line_search_shrink", 0 < self.line_search_shrink < 1, "in (0, 1)", self.line_search_shrink)
        for name in ("cg_iterations", "line_search_steps", "chunk"):
            require(f"outer.{name}", getattr(self, name) > 0, "at least 1", getattr(self, name))


@dataclass(frozen=True)
class Config:
    """MAML-TRPO. The defaults are Finn et al. (2017) on 2D navigation.

    Attributes:
        system: which system this is a configuration of.
        environment: the task distribution.
        policy: the policy network.
        inner: adaptation.
        estimator: advantages.
        outer: the meta-update.
        tasks: N, tasks in a meta-batch (Finn et al., 2017: 20 for navigation, 40 for locomotion).
        episodes: E, episodes per task and inner step (Finn et al., 2017: 20; 40 for ant forward/backward).
        iterations: meta-iterations (Finn et al., 2017: at most 500).
        start: a model saved by Stable-Baselines3 (PPO or A2C, MLP policy) whose policy is the initialisation; random
            weights where nothing is given.
        seed: of everything random in training.
        device: "cpu" or "cuda", for the policy, adaptation and the meta-update; the simulation runs on the CPU.
        precision: of the policy and the trajectories.
        torch_threads: threads of the learner's arithmetic. Part of the configuration because sums depend on it in the
            last bits; the number of simulation threads does not matter.
    """

    system: Literal["maml_trpo"] = "maml_trpo"
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    tasks: int = 20
    episodes: int = 20
    iterations: int = 500
    start: str | None = None
    seed: int = 1
    device: str = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    torch_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("tasks", "episodes", "iterations", "torch_threads"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        require("seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
        try:
            objective_of(self.outer.objective).points(self.inner.steps)
        except ValueError as error:
            raise ValueError(f"`outer.objective` does not go with `inner.steps` {self.inner.steps}: {error}") from None

    def remarks(self) -> list[str]:
        """What is set and has no effect."""
        if self.start is None:
            return []
        return changed_in_vain("policy", self.policy, ("initial_std", "output_scale"), "a policy of `start`")


class MAMLTRPO:
    """The wiring. State is ``{"params": ...}``; every random number comes from (seed, iteration, inner step, task).

    Raises:
        ValueError: a device or an environment there is none of.
    """

    kind = "reinforcement-learning"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dtype = getattr(torch, config.precision)
        torch.set_num_threads(config.torch_threads)
        self.rule = sgd(schedule_of(config.inner.rate))
        self.mode: Mode = {"unrolled": unrolled, "first_order": first_order}[config.inner.mode]()
        self.objective = objective_of(config.outer.objective)
        self.sampler = self._sampler(config.tasks, config.episodes)
        self.policy = policy_for(
            config.policy, self.sampler.envs.single_observation_space, self.sampler.envs.single_action_space
        )
        self.selection_metric, self.keep, self.report_every = "return_after", 1, 1
        self.sampler.try_out()
        _require_same_spaces(config.environment, self.sampler.envs)
        if config.start is not None:
            self.initial_state()  # what is wrong with it is told before any work

    @staticmethod
    def for_use(config: Config) -> Config:
        """A configuration of held-out tasks, with environments enough to know the spaces: for a trained policy."""
        environment = held_out(config.environment)
        return replace(config, environment=environment, tasks=1, episodes=1, start=None)

    def initial_state(self) -> dict[str, Any]:
        """The state before the first meta-iteration."""
        (word,) = SeedSequence([self.config.seed, _INITIALISATION]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(word >> np.uint64(1)))
        params = self.policy.initial(generator, self.dtype)
        if self.config.start is not None:
            params = _started(self.config.start, self.config.policy, params)
        return {"params": {name: leaf.to(self.device) for name, leaf in params.items()}}

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """One meta-iteration: the next state, and metrics of the state that came in."""
        config, began = self.config, perf_counter()
        tasks = self.sampler.sample_tasks(drawing_seed(config.seed, _TRAINING, iteration))
        collected = collect(
            self.sampler,
            self.policy,
            state["params"],
            tasks,
            lambda step: task_seeds(config.seed, _TRAINING, iteration, step, config.tasks),
            self.rule,
            config.inner.steps,
            config.estimator,
        )
        gathered = perf_counter()
        problem = MetaProblem(
            self.policy,
            state["params"],
            collected.batches,
            self.rule,
            self.mode,
            self.objective,
            config.outer.chunk,
            config.outer.curvature_share,
        )
        outer = config.outer
        settings = TrustRegion(
            outer.max_kl, outer.cg_iterations, outer.damping, outer.line_search_steps, outer.line_search_shrink
        )
        params, report = meta_step(problem, state["params"], settings)
        finished = perf_counter()
        steps = sum(trajectories.steps for trajectories in collected.trajectories)
        metrics = {
            **_return_metrics(collected),
            "surrogate_before": report.loss_before,
            "surrogate_after": report.loss_after,
            "kl_before": report.divergence_before,
            "kl_after": report.divergence_after,
            "line_search_steps": float(report.tried),
            "line_search_rejected": float(not report.accepted),
            "curvature_indefinite": float(report.indefinite),
            "env_steps": float(steps),
            "sampling_s": collected.sampling_s,
            "adaptation_s": collected.adaptation_s,
            "meta_update_s": finished - gathered,
            "steps_per_s": steps / (finished - began),
        }
        if "log_std" in params:
            metrics["policy_std"] = float(params["log_std"].exp().mean())
        return {"params": params}, metrics

    def validate(self, state: dict[str, Any], iteration: int) -> dict[str, float]:
        """Nothing: a run's best policy is told by the returns of its own training episodes."""
        return {}

    def summary(self, metrics: dict[str, float]) -> str:
        """A few words for the progress bar."""
        rejected = " rejected" if metrics["line_search_rejected"] else ""
        return (
            f"return {metrics['return_before']:.1f} -> {metrics['return_after']:.1f}, "
            f"{metrics['steps_per_s'] / 1000:.1f}k steps/s{rejected}"
        )

    def evaluate(
        self,
        state: dict[str, Any],
        steps: int,
        seed: int,
        tasks: int,
        episodes: int,
        rates: Sequence[float] | None = None,
        chosen: Sequence[Task] | None = None,
        progress: Callable[[], Any] | None = None,
    ) -> tuple[list[Task], Collected]:
        """Adapts to held-out tasks: `steps` inner steps, returns at each of the steps + 1 points.

        Args:
            state: a training state.
            steps: inner steps, whatever training used.
            seed: of the tasks and episodes, in a stream that training never draws from.
            tasks: how many.
            episodes: per task and step.
            rates: learning rates of the steps where they are not to be the configuration's.
            chosen: these tasks instead of drawn ones.
            progress: called after each of the steps + 1 points.
        """
        sampler = self._sampler(tasks, episodes)
        try:
            drawn = list(chosen) if chosen else sampler.sample_tasks(drawing_seed(seed, _EVALUATION, 0))
            rule = self.rule if rates is None else sgd(listed(rates))
            return drawn, collect(
                sampler,
                self.policy,
                {name: leaf.to(self.device) for name, leaf in state["params"].items()},
                drawn,
                lambda step: task_seeds(seed, _EVALUATION, 0, step, tasks),
                rule,
                steps,
                self.config.estimator,
                progress,
            )
        finally:
            sampler.close()

    def rates(self, steps: int, rates: Sequence[float] | None = None) -> list[float]:
        """The learning rate of each of `steps` inner steps: the configuration's, or those of `rates`."""
        schedule = schedule_of(self.config.inner.rate) if rates is None else listed(rates)
        return [schedule(step) for step in range(steps)]

    def data_identity(self) -> dict[str, str]:
        """Nothing: tasks come from the environment alone."""
        return {}

    def close(self) -> None:
        """Closes the environments."""
        self.sampler.close()

    def _sampler(self, tasks: int, episodes: int) -> Sampler:
        return Sampler(self.config.environment, tasks, episodes, self.device, self.dtype)


def schedule_of(rate: float | Sequence[float]) -> Schedule:
    """A number is halved after the first step; a list is taken as it is."""
    return halved_after_first(rate) if isinstance(rate, (int, float)) else listed(rate)


def _require_same_spaces(config: EnvironmentConfig, envs: VectorTaskEnv) -> None:
    """Raises `ValueError` if the environment of held-out tasks cannot be made, or has other spaces."""
    if not config.held_out:
        return
    env = make_single(held_out(config))
    spaces = (env.observation_space.shape, env.action_space)
    env.close()
    if spaces != ((gym.spaces.flatdim(envs.single_observation_space),), envs.single_action_space):
        raise ValueError(f"`environment.held_out` {config.held_out} gives other observations or actions than training.")


def _started(path: str, config: PolicyConfig, like: Params) -> Params:
    try:
        from maml_rl.sb3.policy import load_start
    except ImportError:
        raise ValueError("`start` needs the extra 'sb3': pip install 'maml_rl[sb3]'.") from None
    return load_start(path, config, like)


def _return_metrics(collected: Collected) -> dict[str, float]:
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
