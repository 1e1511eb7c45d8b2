"""Neural optimiser search: programs are proposed, tried out and learned from (Bello et al., 2017)."""

from collections.abc import Sequence
from functools import cached_property
from math import nan
from time import perf_counter

import torch

from maml_rl.problems.children import Child, Children, children
from maml_rl.problems.corpus import problem_of
from maml_rl.problems.problem import in_precision
from maml_rl.search import (
    Searcher,
    best_of,
    controller,
    evolution,
    key_of,
    no_memory,
    nothing_found,
    remembered,
    uniform,
    with_scores,
)
from maml_rl.systems import system
from maml_rl.systems.evaluation import Evaluation, Measure, Progress
from maml_rl.systems.optimiser_search_config import Config
from maml_rl.systems.optimiser_search_evaluation import HELD_OUT, SearchOptions, compared
from maml_rl.systems.settings import device_of, generator_of
from maml_rl.systems.system import MetricRoles, Metrics, State

__all__ = ["Config", "System"]

_INITIALISATION, _CHILDREN, _PROPOSALS = range(3)  # streams of random numbers, kept apart
_NOTHING_DONE = {
    "mean_score": nan,
    "children": 0.0,
    "proposals": 0.0,
    "distinct": nan,
    "diverged": nan,
    "entropy": nan,
    "children_s": 0.0,
}
"""Metrics of an iteration for which the budget does not suffice."""


class System(system.System[Config, SearchOptions]):
    """The wiring. State is ``{"meta", "searcher", "memory"}``: the best programs, what the searcher knows, and the
    scores of formulas that were tried out.

    Raises:
        ValueError: a device there is none of.
    """

    Options = SearchOptions
    measure = Measure("log_ratio", higher_is_better=False, label="log10 of loss over first loss", digits=3)

    def __init__(self, config: Config) -> None:
        self.config, self.report_every = config, config.report_every
        self.device, self.dtype = device_of(config.device), getattr(torch, config.precision)
        self.language, self.tasks_name = config.language.language, config.child.problem
        self.roles = MetricRoles(
            selection=None,
            learning_curve="best_score",
            totals=("children", "proposals"),
            schedules={"scores": ("best_score", "mean_score")},
        )

    @cached_property
    def searcher(self) -> Searcher:
        """What proposes programs."""
        config = self.config
        if config.searcher == "controller":
            return controller(self.language, config.batch, config.controller)
        if config.searcher == "evolution":
            return evolution(self.language, config.batch, config.evolution.population, config.evolution.tournament)
        return uniform(self.language, config.batch)

    @cached_property
    def children(self) -> Children:
        """What scores programs: the same training for all of them."""
        config = self.config
        drawn = torch.randint(2**40, (config.child.seeds,), generator=generator_of(config.seed, _CHILDREN))
        problem = in_precision(problem_of(config.child.problem, config.data), self.dtype)
        child = Child(problem, config.child.rates, drawn.to(self.device), config.child.steps)
        return children(child, self.language)

    def prepare(self) -> None:
        """Makes the problem.

        Raises:
            ValueError: there is none of this name.
        """
        self.children  # noqa: B018  # makes it

    def initial_state(self) -> State:
        """Nothing is known and nothing is found."""
        return {
            "meta": nothing_found(self.language, self.config.best),
            "searcher": self.searcher.initial(generator_of(self.config.seed, _INITIALISATION)),
            "memory": no_memory(self.config.memory),
        }

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """A batch of programs: those that were never tried out are, and the searcher learns from all of them."""
        began = perf_counter()
        programs = self.searcher.propose(state["searcher"], generator_of(self.config.seed, _PROPOSALS, iteration))
        keys = [key_of(self.language.formula(program)) for program in programs]
        known = remembered(state["memory"])
        new = [place for place, key in enumerate(keys) if key not in known and key not in keys[:place]]
        if int(state["memory"]["count"]) + len(new) > self.config.budget:
            highest = float(state["meta"]["scores"][0])
            return state, {"best_score": highest, **_NOTHING_DONE, "iteration_s": perf_counter() - began}
        scored = self.children(programs[new])
        tried = perf_counter()
        fresh = dict(zip([keys[place] for place in new], scored.scores.tolist(), strict=True))
        scores = torch.tensor([fresh[key] if key in fresh else known[key] for key in keys], dtype=torch.float64)
        searcher, told = self.searcher.learn(state["searcher"], programs, scores)
        best = best_of(self.language, state["meta"], programs[new], scored.scores, scored.rates)
        metrics = {
            **_NOTHING_DONE,
            "best_score": float(best["scores"][0]),
            "mean_score": float(scores.mean()),
            "children": float(len(new)),
            "proposals": float(len(programs)),
            "distinct": len(set(keys)) / len(keys),
            "diverged": 1 - float(scored.finite.double().mean()) if new else nan,
            **told,
            "children_s": tried - began,
            "iteration_s": perf_counter() - began,
        }
        return {"meta": best, "searcher": searcher, "memory": with_scores(state["memory"], fresh)}, metrics

    def summary(self, metrics: Metrics) -> str:
        """The best score and the batch's mean score."""
        best, mean = (metrics.get(name, nan) for name in ("best_score", "mean_score"))
        return f"best {best:.4g}, mean {mean:.4g}"

    def resolve(self, options: SearchOptions) -> SearchOptions:
        """The options with ten times a child's length where nothing is given."""
        return options.resolved(HELD_OUT, 10 * self.config.child.steps, 2, self.config.data)

    def evaluate(self, states: Sequence[State], options: SearchOptions, progress: Progress | None = None) -> Evaluation:
        """Trains other problems by the best programs, and by ordinary optimisers, each at its best learning rate."""
        config = self.config
        return compared(
            self.measure, self.language, states[0]["meta"], self.dtype, self.device, config.data, options, progress
        )
