"""What systems with an inner loop share: collecting, adapting, evaluating. The meta-update is their own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.random import PCG64, Generator, SeedSequence
from torch import Tensor

from maml_rl.core.rules import initial_rates, listed, named_rates, without_rates
from maml_rl.core.tree import flatten
from maml_rl.core.types import Params
from maml_rl.rl.baselines import features
from maml_rl.rl.collect import Collected, collect, pooled_baseline, sampling_credits
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.environments.vector import held_out
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policies import PolicyConfig, policy_for
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.updates.meta_surrogate import MetaProblem
from maml_rl.systems.meta_policy_config import adapts, mode_of, objective_at, rule_of, schedule_of
from maml_rl.systems.policy_system import PolicySystem, return_metrics

__all__ = ["MetaPolicySystem"]

_PROBES = 3  # a stream of random numbers beside those of `PolicySystem`


class MetaPolicySystem(PolicySystem, ABC):
    """The wiring. State is ``{"params": ...}`` and what the meta-optimiser and a learned baseline remember.

    Every random number comes from (seed, iteration, inner step, task).

    Raises:
        ValueError: a device or an environment there is none of.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config, config.episodes)
        self.policy = policy_for(config.policy, *self.spaces)
        self.learner = PolicyLearner(
            self.policy, rule_of(config.inner, self.policy), mode_of(config.inner), INNER_LOSSES[config.inner.loss]
        )
        self._require_adapted()
        if config.start is not None:
            self.initial_state()  # what is wrong with it is told before any work

    @staticmethod
    def for_use(config: Any) -> Any:
        """A configuration of held-out tasks, with environments enough to know the spaces: for a trained policy."""
        environment = held_out(config.environment)
        return config.for_use(environment)

    def initial_state(self) -> dict[str, Any]:
        """The state before the first meta-iteration."""
        config = self.config
        params = self.policy.initial(self.initial_generator(), self.dtype)
        if config.start is not None:
            params = _started(config.start, config.policy, params)
        if config.inner.learned_rates:
            adapted = self._adapted(params)
            per_scalar = config.inner.learned_rates == "per_scalar"
            rates = initial_rates(adapted, schedule_of(config.inner.rate), config.inner.steps, per_scalar)
            params = params | named_rates(rates)
        params = {name: leaf.to(self.device) for name, leaf in params.items()}
        return {"params": params, **self._initial_baseline(), **self.initial_memory(params)}

    def initial_memory(self, params: Params) -> dict[str, Any]:
        """What the meta-optimiser remembers before its first update: nothing, if not said otherwise."""
        return {}

    @abstractmethod
    def update(
        self, state: dict[str, Any], collected: Collected, iteration: int
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """The meta-update: new parameters and memory, and its metrics."""

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """One meta-iteration: the next state, and metrics of the state that came in."""
        config, began = self.config, perf_counter()
        tasks, seeds = self.training_tasks(iteration)
        collected = collect(
            self.sampler,
            self.learner,
            state["params"],
            tasks,
            seeds,
            config.inner.steps,
            config.estimator,
            state.get("baseline"),
        )
        gathered = perf_counter()
        updated, about = self.update(state, collected, iteration)
        if "baseline" in state:
            fitted = [pooled_baseline(trajectories, config.estimator) for trajectories in collected.trajectories]
            updated["baseline"] = torch.stack(fitted)
        finished = perf_counter()
        steps = sum(trajectories.steps for trajectories in collected.trajectories)
        metrics = {
            **return_metrics(collected),
            **about,
            "env_steps": float(steps),
            "sampling_s": collected.sampling_s,
            "adaptation_s": collected.adaptation_s,
            "meta_update_s": finished - gathered,
            "steps_per_s": steps / (finished - began),
        }
        if "log_std" in updated["params"]:
            metrics["policy_std"] = float(updated["params"]["log_std"].exp().mean())
        return updated, metrics

    def problem(self, params: Params, collected: Collected, iteration: int, **options: Any) -> MetaProblem:
        """The meta-objective over what was collected, with E-MAML's credits where they are asked for."""
        outer, discount = self.config.outer, self.config.estimator.discount
        credits = None
        if outer.sampling_credit:
            exact = sampling_credits(collected.trajectories[-1], collected.batches[-1], discount)
            credits = outer.sampling_credit * exact
        objective = objective_at(outer, iteration)
        return MetaProblem(self.learner, params, collected.batches, objective, outer.chunk, credits=credits, **options)

    def probes(self, params: Params, count: int, iteration: int) -> Tensor:
        """`count` vectors of independent entries -1 and 1, [count, P]."""
        rng = Generator(PCG64(SeedSequence([self.config.seed, _PROBES, iteration])))
        drawn = rng.integers(0, 2, (count, len(flatten(params))), np.int8) * 2 - 1
        return torch.from_numpy(drawn).to(self.device, self.dtype)

    def summary(self, metrics: dict[str, float]) -> str:
        """A few words for the progress bar."""
        rejected = " rejected" if metrics.get("line_search_rejected") else ""
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
            rates: learning rates of the steps where they are not to be the configuration's or the learned ones.
            chosen: these tasks instead of drawn ones.
            progress: called after each of the steps + 1 points.
        """
        learner, theta = self.learner, {name: leaf.to(self.device) for name, leaf in state["params"].items()}
        if rates is not None:
            learner = learner._replace(rule=rule_of(self.config.inner, self.policy, listed(rates)))
            theta, _ = without_rates(theta)
        with self.held_out(seed, tasks, episodes, chosen) as held_out:
            return held_out.tasks, collect(
                held_out.sampler,
                learner,
                theta,
                held_out.tasks,
                held_out.seeds,
                steps,
                self.config.estimator,
                state.get("baseline"),
                progress,
            )

    def rates(self, steps: int, rates: Sequence[float] | None = None) -> list[float] | str:
        """The learning rate of each of `steps` inner steps: the configuration's, or those of `rates`."""
        if rates is None and self.config.inner.learned_rates:
            return "learned"
        schedule = schedule_of(self.config.inner.rate) if rates is None else listed(rates)
        return [schedule(step) for step in range(steps)]

    def _adapted(self, params: Params) -> Params:
        """Those parameters that adaptation moves."""
        moves = adapts(self.config.inner, self.policy)
        return {name: leaf for name, leaf in self.policy.fresh(params).items() if moves(name)}

    def _require_adapted(self) -> None:
        params = self.policy.fresh(self.policy.initial(torch.Generator(), self.dtype))
        if not self._adapted(params):
            raise ValueError(f"`inner.adapts` {self.config.inner.adapts} names none of {', '.join(params)}.")

    def _initial_baseline(self) -> dict[str, Tensor]:
        if self.config.estimator.baseline != "learned":
            return {}
        size = gym.spaces.flatdim(self.spaces[0])
        width = features(torch.zeros(1, size), torch.zeros(1)).shape[-1]
        return {"baseline": torch.zeros(self.config.inner.steps + 1, width, dtype=torch.float64, device=self.device)}


def _started(path: str, config: PolicyConfig, like: Params) -> Params:
    try:
        from maml_rl.sb3.policy import load_start
    except ImportError:
        raise ValueError("`start` needs the extra 'sb3': pip install 'maml_rl[sb3]'.") from None
    return load_start(path, config, like)
