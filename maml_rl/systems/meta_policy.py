"""What systems with inner steps of a policy share: collecting, adapting, evaluating. A meta-optimiser is a value."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Generic, TypeAlias, TypeVar

import gymnasium as gym
import torch
from torch import Tensor

from maml_rl.core.meta_optimisers import MetaOptimiser
from maml_rl.core.rules import RATES, initial_rates
from maml_rl.core.tree import place
from maml_rl.core.types import Meta, Params
from maml_rl.rl.baselines import features
from maml_rl.rl.collect import Collected, collect
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.estimation import pooled_baseline, sampling_credits
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policies import PolicyConfig, policy_for
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from maml_rl.systems.evaluation import Evaluation, Progress
from maml_rl.systems.inner import inner_mode, inner_rule, moves, rates_used, require_rates, schedule_of
from maml_rl.systems.meta_policy_config import MetaPolicyConfig, SurrogateConfig
from maml_rl.systems.meta_policy_use import AdaptedExporter, AdaptedRenderer
from maml_rl.systems.policy_evaluation import AdaptationOptions, returns_of
from maml_rl.systems.policy_system import PolicySystem, return_metrics
from maml_rl.systems.system import Metrics, State

__all__ = ["MetaPolicySystem", "meta_surrogate"]

ConfigT = TypeVar("ConfigT", bound=MetaPolicyConfig)
ProblemT = TypeVar("ProblemT")

ProblemOf: TypeAlias = Callable[[PolicyLearner, Meta, Collected, int], ProblemT]
"""``problem(learner, meta, collected, iteration)`` is what the meta-optimiser moves on."""


class MetaPolicySystem(PolicySystem[ConfigT, AdaptationOptions], Generic[ConfigT, ProblemT]):
    """The wiring. State is ``{"meta", "optimiser"}`` and the weights of a learned baseline.

    Every random number comes from (seed, iteration, inner step, task).

    Args:
        config: of the run.
        optimiser: how the meta-parameters move.
        problem: what it moves on, made of what an iteration collected.

    Raises:
        ValueError: a device or an environment there is none of, or inner steps that move nothing.
    """

    Options = AdaptationOptions

    def __init__(self, config: ConfigT, optimiser: MetaOptimiser[ProblemT], problem: ProblemOf[ProblemT]) -> None:
        super().__init__(config, config.episodes, adapts=config.inner.steps > 0)
        self.policy = policy_for(config.policy, *self.spaces)
        self._moves = moves(config.inner, self.policy.head)
        self.learner = PolicyLearner(
            self.policy,
            inner_rule(config.inner, self._moves),
            inner_mode(config.inner),
            INNER_LOSSES[config.estimator.loss],
        )
        self._optimiser, self._problem = optimiser, problem
        params = self.policy.initial(torch.Generator(), self.dtype)
        if not self._adapted(params):
            names = ", ".join(self.policy.fresh(params))
            raise ValueError(f"`inner.adapts` {config.inner.adapts} names none of {names}.")

    def initial_state(self) -> State:
        """The state before the first meta-iteration."""
        params = self._initial_policy()
        if self.config.start is not None:
            params = _started(self.config.start, self.config.policy, params)
        return self._state(params)

    def state_template(self) -> State:
        """The same from random weights, wherever training started."""
        return self._state(self._initial_policy())

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """One meta-iteration: the next state, and metrics of the state that came in."""
        config, began = self.config, perf_counter()
        tasks, seeds = self.training_tasks(iteration)
        learner = self.learner._replace(mode=inner_mode(config.inner, iteration))
        collected = collect(
            self.sampler,
            learner,
            state["meta"],
            tasks,
            seeds,
            config.inner.steps,
            config.estimator,
            state.get("baseline"),
        )
        gathered = perf_counter()
        problem = self._problem(learner, state["meta"], collected, iteration)
        update = self._optimiser.update(state["meta"], state["optimiser"], problem, iteration)
        after: State = {"meta": update.meta, "optimiser": update.memory}
        if "baseline" in state:
            fitted = [pooled_baseline(trajectories, config.estimator) for trajectories in collected.trajectories]
            after["baseline"] = torch.stack(fitted)
        finished = perf_counter()
        steps = sum(trajectories.steps for trajectories in collected.trajectories)
        metrics = {
            **return_metrics(collected.trajectories),
            **update.metrics,
            "env_steps": float(steps),
            "sampling_s": collected.sampling_s,
            "adaptation_s": collected.adaptation_s,
            "meta_update_s": finished - gathered,
            "steps_per_s": steps / (finished - began),
        }
        if "log_std" in update.meta[POLICY]:
            metrics["policy_std"] = float(update.meta[POLICY]["log_std"].exp().mean())
        return after, metrics

    def summary(self, metrics: Metrics) -> str:
        """A few words for the progress bar."""
        rejected = " rejected" if metrics.get("line_search_rejected") else ""
        return (
            f"return {metrics['return_before']:.1f} -> {metrics['return_after']:.1f}, "
            f"{metrics['steps_per_s'] / 1000:.1f}k steps/s{rejected}"
        )

    @property
    def default_steps(self) -> int:
        """Three, or none of an oracle."""
        return 0 if self.config.is_oracle else super().default_steps

    def resolve(self, options: AdaptationOptions) -> AdaptationOptions:
        """The options with this system's own values where nothing is given; no more learning rates than steps."""
        options = super().resolve(options)
        require_rates(options.steps, options.learning_rates)
        return options

    def evaluate(
        self, states: Sequence[State], options: AdaptationOptions, progress: Progress | None = None
    ) -> Evaluation:
        """Adapts to held-out tasks: returns at each of the steps + 1 points, [K + 1, N, E]."""
        steps, rates = options.steps or 0, options.learning_rates
        tasks, collected = self.adapt_held_out(
            states[0], steps, options.seed, options.tasks or 40, options.episodes, rates, progress
        )
        settings = {"learning_rates": rates_used(self.config.inner, steps, rates)}
        return returns_of(
            collected.trajectories,
            tasks,
            self.measure,
            self.held_out_environment,
            collected.horizon,
            "gradient steps",
            settings,
        )

    def adapt_held_out(
        self,
        state: State,
        steps: int,
        seed: int,
        tasks: int | Sequence[Task],
        episodes: int,
        rates: Sequence[float] | None = None,
        progress: Progress | None = None,
    ) -> tuple[list[Task], Collected]:
        """Adapts to tasks, drawn ones where a number is given, in a stream that training never draws from.

        Args:
            state: a training state.
            steps: inner steps, whatever training used.
            seed: of the tasks and episodes.
            tasks: how many, or which.
            episodes: per task and step.
            rates: learning rates of the steps where they are not to be the configuration's or the learned ones.
            progress: called after each of the steps + 1 points.
        """
        learner, meta = self.learner, place(state["meta"], self.device)
        if rates is not None:
            learner = learner._replace(rule=inner_rule(self.config.inner, self._moves, rates))
        with self.held_out(seed, tasks, episodes) as held_out:
            return held_out.tasks, collect(
                held_out.sampler,
                learner,
                meta,
                held_out.tasks,
                held_out.seeds,
                steps,
                self.config.estimator,
                state.get("baseline"),
                progress,
            )

    def renderer(self) -> AdaptedRenderer:
        """Films its policies after gradient steps."""
        default_steps = [0] if self.config.is_oracle else [0, 1, 3]
        return AdaptedRenderer(
            self.held_out_environment, default_steps, self.policy, self.adapt_held_out, self.config.episodes
        )

    def exporter(self) -> AdaptedExporter:
        """Exports its policies after gradient steps."""
        return AdaptedExporter(
            self.held_out_environment,
            0 if self.config.is_oracle else 1,
            self.config.policy,
            lambda state: self.learner.begin(state["meta"]).params,
            self.adapt_held_out,
            self.config.episodes,
        )

    def _initial_policy(self) -> Params:
        return self.policy.initial(self.initial_generator(), self.dtype)

    def _state(self, params: Params) -> State:
        """The state before the first meta-iteration, from a policy's parameters."""
        inner = self.config.inner
        meta: Meta = {POLICY: params}
        if inner.learned_rates:
            per_scalar = inner.learned_rates == "per_scalar"
            meta[RATES] = initial_rates(
                self._adapted(params), schedule_of(inner.learning_rate), inner.steps, per_scalar
            )
        meta = place(meta, self.device)
        state: State = {"meta": meta, "optimiser": self._optimiser.init(meta)}
        if self.config.estimator.baseline == "learned":
            width = features(torch.zeros(1, gym.spaces.flatdim(self.spaces[0])), torch.zeros(1)).shape[-1]
            state["baseline"] = torch.zeros(inner.steps + 1, width, dtype=torch.float64, device=self.device)
        return state

    def _adapted(self, params: Params) -> Params:
        """Those parameters that adaptation moves."""
        return {name: leaf for name, leaf in self.policy.fresh(params).items() if self._moves(name)}


def meta_surrogate(
    config: SurrogateConfig, learner: PolicyLearner, meta: Meta, collected: Collected, iteration: int, **options: Any
) -> MetaSurrogate:
    """The meta-objective over what was collected, with E-MAML's credits where they are asked for."""
    outer = config.outer
    credits: Tensor | None = None
    if outer.sampling_credit:
        exact = sampling_credits(collected.trajectories[-1], collected.batches[-1], config.estimator.discount)
        credits = outer.sampling_credit * exact
    objective = outer.objective_at(iteration)
    return MetaSurrogate(learner, meta, collected.batches, objective, outer.chunk, credits=credits, **options)


def _started(path: str, config: PolicyConfig, like: Params) -> Params:
    try:
        from maml_rl.sb3.policy import load_start
    except ImportError:
        raise ValueError("`start` needs the extra 'sb3': pip install 'maml_rl[sb3]'.") from None
    return load_start(path, config, like)
