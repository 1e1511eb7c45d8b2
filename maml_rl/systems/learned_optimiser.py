"""Learned optimisers: an update rule whose weights are learned over small trainings (Wichrowska et al., 2017)."""

from collections.abc import Sequence
from functools import cached_property
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from maml_rl.core.estimators import (
    Estimator,
    Lifetimes,
    evolution_strategies,
    persistent_evolution_strategies,
    truncated_unroll,
)
from maml_rl.core.meta_optimisers import adam, clip_norm
from maml_rl.core.rules.hierarchical import Units, hierarchical, initial_hierarchical
from maml_rl.core.rules.per_parameter import OPTIMISER, initial_per_parameter, per_parameter
from maml_rl.core.tree import map_tree, place
from maml_rl.core.types import Batch, Meta, Rule
from maml_rl.problems.corpus import problem_of
from maml_rl.problems.lifetime import LARGEST, lifetime, log_uniform
from maml_rl.problems.problem import TrainingProblem, in_precision, reparameterised
from maml_rl.systems import system
from maml_rl.systems.compared_trainings import ComparisonOptions
from maml_rl.systems.evaluation import Evaluation, Measure, Progress
from maml_rl.systems.learned_optimiser_config import Config
from maml_rl.systems.learned_optimiser_evaluation import HELD_OUT, compared
from maml_rl.systems.settings import device_of, generator_of, lateness_at, schedule_between
from maml_rl.systems.system import MetricRoles, Metrics, State

__all__ = ["Config", "System"]

_INITIALISATION, _LIFETIMES, _ESTIMATES = range(3)  # streams of random numbers, kept apart
_WEIGHT_OF_THE_END = 10.0  # of each step of the last tenth, where it counts alone


class System(system.System[Config, ComparisonOptions]):
    """The wiring. State is ``{"meta", "optimiser", "lifetimes"}``: the rule's weights, Adam's memory, and where the
    trainings of each problem stand.

    Raises:
        ValueError: a device or a problem there is none of.
    """

    Options = ComparisonOptions
    measure = Measure("log_ratio", higher_is_better=False, label="log10 of loss over first loss", digits=3)

    def __init__(self, config: Config) -> None:
        self.config, self.report_every = config, config.report_every
        self.device, self.dtype = device_of(config.device), getattr(torch, config.precision)
        self.tasks_name = "small trainings"
        self.roles = MetricRoles(
            selection=None,
            learning_curve="meta_loss",
            totals=("training_steps",),
            schedules={"meta-loss": tuple(f"meta_loss {name}" for name in config.problems)},
        )
        meta = config.meta
        self._optimiser = adam(schedule_between(meta.learning_rate, meta.final_learning_rate, config.iterations))

    @cached_property
    def estimators(self) -> dict[str, Estimator]:
        """Of each problem's trainings."""
        return {name: self._estimator(problem_of(name, self.config.data)) for name in self.config.problems}

    def prepare(self) -> None:
        """Makes the problems.

        Raises:
            ValueError: there is none of a name.
        """
        self.estimators  # noqa: B018  # makes them

    def initial_state(self) -> State:
        """Weights near an ordinary optimiser, and trainings that are yet to begin."""
        config, generator = self.config, generator_of(self.config.seed, _INITIALISATION)
        if config.optimiser.kind == "hierarchical":
            weights = initial_hierarchical(Units(*config.optimiser.units), generator, self.dtype)
        else:
            weights = initial_per_parameter(config.optimiser.units, generator, self.dtype)
        meta = place({OPTIMISER: weights}, self.device)
        lifetimes = {
            name: estimator.init(meta, generator_of(config.seed, _LIFETIMES, index))
            for index, (name, estimator) in enumerate(self.estimators.items())
        }
        return {"meta": meta, "optimiser": self._optimiser.init(meta), "lifetimes": lifetimes}

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """An unroll of every problem's trainings and one meta-update."""
        config, began, meta = self.config, perf_counter(), state["meta"]
        metrics: Metrics = {}
        data, lifetimes, slopes = self._lateness(iteration), {}, []
        for index, (name, estimator) in enumerate(self.estimators.items()):
            generator = generator_of(config.seed, _ESTIMATES, iteration, index)
            estimate = estimator.estimate(meta, state["lifetimes"][name], data, generator)
            lifetimes[name] = estimate.memory
            slopes.append(clip_norm(estimate.gradient, config.meta.max_norm)[0])
            metrics |= {f"{key} {name}": estimate.metrics[key] for key in ("meta_loss", "diverged")}
        estimated = perf_counter()
        gradient = map_tree(lambda *leaves: torch.stack(leaves).mean(0), *slopes)
        update = self._optimiser.update(meta, state["optimiser"], lambda _: (gradient, ()), iteration)
        losses = [metrics[f"meta_loss {name}"] for name in self.estimators]
        metrics |= {
            "meta_loss": sum(losses) / len(losses),
            "training_steps": float(config.meta.unroll * config.lifetimes * len(losses)),
            **update.metrics,
            "estimate_s": estimated - began,
            "iteration_s": perf_counter() - began,
        }
        return {"meta": update.meta, "optimiser": update.memory, "lifetimes": lifetimes}, metrics

    def resolve(self, options: ComparisonOptions) -> ComparisonOptions:
        """The options with ten times the training's length where nothing is given."""
        return options.resolved(HELD_OUT, 10 * self.config.length, 5, self.config.data)

    def evaluate(
        self, states: Sequence[State], options: ComparisonOptions, progress: Progress | None = None
    ) -> Evaluation:
        """Trains problems that were not trained on, by the learned optimiser and by tuned ordinary ones."""
        meta: Meta = place(states[0]["meta"], self.device)
        return compared(
            self.measure, self._rule, self.config.optimiser.rates, meta, self.config.data, options, progress
        )

    def _rule(self, rate: Tensor, horizon: int) -> Rule:
        return hierarchical(rate) if self.config.optimiser.kind == "hierarchical" else per_parameter(horizon)

    def _estimator(self, problem: TrainingProblem) -> Estimator:
        config, meta = self.config, self.config.meta
        problem = reparameterised(problem, config.augmentation) if config.augmentation > 1 else problem

        def rule(seed: Tensor) -> Rule:
            return self._rule(log_uniform(seed, *config.optimiser.rates).to(self.dtype), config.length)

        late = 0.9 * config.length

        def weigh(k: Tensor, lateness: Batch) -> Any:
            return 1 - lateness + lateness * (k >= late) * _WEIGHT_OF_THE_END

        trainings = lifetime(in_precision(problem, self.dtype), rule, weigh)
        limit = LARGEST * _WEIGHT_OF_THE_END
        lives = Lifetimes(config.lifetimes, config.length, loss_limit=limit, traced=config.traced, stepwise=True)
        if meta.estimator == "truncated":
            return truncated_unroll(trainings, lives, meta.unroll)
        by = evolution_strategies if meta.estimator == "evolution" else persistent_evolution_strategies
        return by(trainings, lives, meta.unroll, meta.sigma)

    def _lateness(self, iteration: int) -> Tensor:
        """How much the end of a training counts alone, [N, L]: 0 counts all steps alike, 1 the last tenth only."""
        meta = self.config.meta
        late = lateness_at(meta.objective, iteration, meta.annealing)
        return torch.full((self.config.lifetimes, meta.unroll), late, dtype=self.dtype, device=self.device)
