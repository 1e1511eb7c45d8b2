"""A synaptic learning rule, learned over tasks (Bengio, Bengio and Cloutier, 1991; Bengio et al., 1992)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from maml_rl.core.cma_es import cma_es, require_cmaes
from maml_rl.core.estimators import Estimator, Lifetimes, full_unroll
from maml_rl.core.meta_optimisers import MetaOptimiser, adam, clip_norm
from maml_rl.core.rules.synaptic import COEFFICIENTS, RULE, TERMS, initial_synaptic
from maml_rl.core.tree import expand, map_tree, place
from maml_rl.core.types import Meta
from maml_rl.problems.lessons import Lesson, Lessons, coded_patterns, drawn_lessons
from maml_rl.problems.plastic_lifetime import curves_of, plastic_lifetime
from maml_rl.problems.plastic_network import PlasticNetwork
from maml_rl.systems import system
from maml_rl.systems.evaluation import Evaluation, Measure, Progress
from maml_rl.systems.settings import device_of, generator_of, lateness_at, schedule_between
from maml_rl.systems.synaptic_rule_config import Config
from maml_rl.systems.synaptic_rule_evaluation import RuleOptions, evaluated
from maml_rl.systems.synaptic_rule_tasks import Split, split_tasks
from maml_rl.systems.system import MetricRoles, Metrics, State

__all__ = ["Config", "System"]

_INITIALISATION, _SPLIT, _LESSONS, _WEIGHTS, _CANDIDATES = range(5)  # streams of random numbers, kept apart


class System(system.System[Config, RuleOptions]):
    """The wiring. State is ``{"meta", "optimiser"}``: the rule's coefficients, and Adam's memory or that of CMA-ES.

    Raises:
        ValueError: a device there is none of, tasks there are not enough of.
    """

    Options = RuleOptions
    measure = Measure("error_rate", higher_is_better=False, label="share of wrong responses", digits=3)

    def __init__(self, config: Config) -> None:
        self.config, self.report_every = config, config.report_every
        self.device, self.dtype = device_of(config.device), getattr(torch, config.precision)
        self.tasks_name = ", ".join(config.tasks.families)
        self._terms = tuple(f"term {term}" for term in TERMS)
        self.roles = MetricRoles(
            selection=None, learning_curve="meta_loss", totals=("presentations",), schedules={"rule": self._terms}
        )
        network = config.network
        self.network = PlasticNetwork(config.tasks.inputs, network.hidden, network.unit, network.std, network.feedback)
        self._optimiser: MetaOptimiser[Any] = self._by_gradient() if self._differentiates else self._by_cma_es()

    @cached_property
    def split(self) -> Split:
        """Tasks for training, and held-out ones."""
        return split_tasks(self.config.tasks, generator_of(self.config.seed, _SPLIT))

    @cached_property
    def estimator(self) -> Estimator:
        """Of the meta-gradient through whole lifetimes. There is no limit to losses: lifetimes beyond one would be left
        out, and nothing would keep a rule from making more of them."""
        config = self.config
        whole = Lifetimes(config.lifetimes, config.presentations, apart=True)
        lives = replace(whole, traced=config.traced, stepwise=True)
        return full_unroll(plastic_lifetime(self.network, self.dtype, config.meta.logarithmic), lives)

    @cached_property
    def curves(self) -> Any:
        """Lifetimes without derivatives."""
        return curves_of(self.network, self.dtype, self.config.traced)

    def prepare(self) -> None:
        """Draws the tasks.

        Raises:
            ValueError: there are not enough of them, or the package of the optimiser is not installed.
        """
        self.split  # noqa: B018  # draws them
        if not self._differentiates:
            require_cmaes()

    def initial_state(self) -> State:
        """A rule with small random coefficients."""
        config = self.config
        generator = generator_of(config.seed, _INITIALISATION)
        meta = place({RULE: initial_synaptic(config.meta.initial, generator, self.dtype)}, self.device)
        return {"meta": meta, "optimiser": self._optimiser.init(meta)}

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """Lifetimes of networks that learn by the rule, or by each candidate for it, and one meta-update."""
        config, began, meta = self.config, perf_counter(), state["meta"]
        lessons = self._lessons(iteration)
        ask = self._gradient if self._differentiates else self._scores
        update = self._optimiser.update(
            meta, state["optimiser"], lambda asked: ask(asked, lessons, iteration), iteration
        )
        candidates = 1 if self._differentiates else config.meta.population
        coefficients = meta[RULE][COEFFICIENTS].tolist()
        metrics: Metrics = {
            **update.aux,
            "presentations": float(config.presentations * config.lifetimes * candidates),
            **dict(zip(self._terms, coefficients, strict=True)),
            **update.metrics,
            "iteration_s": perf_counter() - began,
        }
        return {"meta": update.meta, "optimiser": update.memory}, metrics

    def resolve(self, options: RuleOptions) -> RuleOptions:
        """The options with this configuration's numbers where nothing is given."""
        return options.resolved(self.config.presentations, len(self.split.held_out))

    def evaluate(self, states: Sequence[State], options: RuleOptions, progress: Progress | None = None) -> Evaluation:
        """Networks with new initial weights learn held-out tasks, by the rule and by those of Hebb and Widrow-Hoff."""
        meta: Meta = place(states[0]["meta"], self.device)
        return evaluated(self.measure, self.network, meta, self.split.held_out, options, progress, self.config.traced)

    @property
    def _differentiates(self) -> bool:
        return self.config.meta.optimiser == "gradient"

    def _by_gradient(self) -> MetaOptimiser[Any]:
        meta = self.config.meta
        return adam(schedule_between(meta.learning_rate, meta.final_learning_rate, self.config.iterations))

    def _by_cma_es(self) -> MetaOptimiser[Any]:
        meta, seed = self.config.meta, self.config.seed
        return cma_es(
            meta.population,
            meta.sigma,
            lambda iteration: generator_of(seed, _CANDIDATES, iteration).initial_seed() % 2**32,
        )

    def _lessons(self, iteration: int) -> Lessons:
        """What this iteration's lifetimes are shown: the training tasks in random order, again and again."""
        config, generator = self.config, generator_of(self.config.seed, _LESSONS, iteration)
        dealt: list[Lesson] = []
        while len(dealt) < config.lifetimes:
            order = torch.randperm(len(self.split.training), generator=generator).tolist()
            dealt += [self.split.training[index] for index in order]
        chosen = list(islice(dealt, config.lifetimes))
        coded = coded_patterns(config.tasks.inputs, self.network.kind, self.dtype)
        return place(drawn_lessons(chosen, coded, self.network.kind, config.presentations, generator), self.device)

    def _gradient(self, meta: Meta, lessons: Lessons, iteration: int) -> tuple[Meta, Metrics]:
        """The mean of the lifetimes' meta-gradients, each of them no longer than `max_norm`.

        Learning rules can make a lifetime chaotic, and its meta-gradient many powers of ten longer than the others'.
        """
        generator, theta = generator_of(self.config.seed, _WEIGHTS, iteration), expand(meta, self.config.lifetimes)
        memory = self.estimator.init(theta, generator)
        weights = self._weights(iteration).to(lessons.target).expand_as(lessons.target)
        estimate = self.estimator.estimate(theta, memory, (lessons, weights), generator)
        slopes = map_tree(Tensor.double, estimate.gradient)
        clipped, norms = torch.func.vmap(partial(clip_norm, longest=self.config.meta.max_norm))(slopes)
        gradient = map_tree(lambda leaf: leaf.mean(0).to(self.dtype), clipped)
        told = {key: estimate.metrics[key] for key in ("meta_loss", "diverged")}
        return gradient, {**told, "gradient_norm": float(norms.median())}

    def _scores(self, population: Meta, lessons: Lessons, iteration: int) -> tuple[Tensor, Metrics]:
        """Each candidate's objective, in the same lifetimes; the meta-loss is the median of the finite ones."""
        lives, candidates = self.config.lifetimes, self.config.meta.population
        generator = generator_of(self.config.seed, _WEIGHTS, iteration)
        seeds = torch.randint(2**62, (lives,), generator=generator).to(self.device)
        theta = map_tree(lambda leaf: leaf.repeat_interleave(lives, 0), population)
        shown = map_tree(lambda leaf: leaf.repeat(candidates, *[1] * (leaf.dim() - 1)), lessons)
        losses = self.curves(theta, seeds.repeat(candidates), shown).losses[:, 1:]
        losses = torch.log1p(losses) if self.config.meta.logarithmic else losses
        weights = self._weights(iteration).to(losses)
        scores = (losses * weights).mean(1).reshape(candidates, lives).mean(1)
        finite = scores.isfinite()
        middle = float(scores[finite].median()) if bool(finite.any()) else float("inf")
        return scores, {"meta_loss": middle, "diverged": float((~finite).sum())}

    def _weights(self, iteration: int) -> Tensor:
        """How much the loss behind each presentation counts, with mean 1, [T]."""
        meta, count = self.config.meta, self.config.presentations
        late = lateness_at(meta.objective, iteration, meta.annealing)
        last = -(-count // 10)
        behind = (torch.arange(count) >= count - last) * (count / last)
        return 1 - late + late * behind
