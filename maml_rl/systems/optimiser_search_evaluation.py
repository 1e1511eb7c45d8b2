"""The best programs of a search on problems that it never saw, beside ordinary optimisers with tuned learning rates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.rules.agreement import add_sign, power_sign
from maml_rl.core.rules.language import Language
from maml_rl.core.rules.programmed import programmed
from maml_rl.core.types import Rule
from maml_rl.problems.comparison import BASELINES, RATES, interquartile_mean, trained, tuned
from maml_rl.problems.corpus import problem_of
from maml_rl.problems.curves import LEAST, log_ratios, parts_of
from maml_rl.problems.problem import TrainingProblem, in_precision
from maml_rl.systems.evaluation import Evaluation, Figure, Measure, Progress
from maml_rl.systems.learned_optimiser_evaluation import ComparisonOptions

__all__ = ["HELD_OUT", "Found", "SearchOptions", "compared", "found_in"]

Array = NDArray[np.float64]
Optimisers = dict[str, Callable[[Tensor], Rule]]

HELD_OUT = ("digits-64-64", "digits-24-24-24-24-tanh", "digits-convolutional", "sine-32-32")
REFERENCES: Optimisers = {
    **BASELINES,
    "power_sign": lambda rate: power_sign(lambda step: rate),  # type: ignore[arg-type,return-value]
    "add_sign": lambda rate: add_sign(lambda step: rate),  # type: ignore[arg-type,return-value]
}
"""Tuned optimisers, and the two that the paper of the search is known for."""


@dataclass(frozen=True)
class SearchOptions(ComparisonOptions):
    """How a search is evaluated: trainings by its best programs and by others, each at the best of 14 learning rates.

    Attributes:
        steps: equal parts that a training is cut into; each measures its mean loss. 20 where nothing is given.
        tasks: trainings by each optimiser and learning rate, of one problem after the other; 2 of each where nothing is
            given.
        problems: names of `maml_rl.problems.corpus.CORPUS`, or ``package.module:function``.
        horizon: steps of a training; ten times as many as in the search where nothing is given.
        programs: how many of the best programs are trained by.
    """

    problems: list[str] = field(default_factory=lambda: list(HELD_OUT))
    programs: int = 3

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "programs": 1}


class Found(NamedTuple):
    """A program that a search found.

    Attributes:
        name: "found" is the best one, "found_2" the next.
        formula: what it does.
        score: in the search.
        rate: at which it had that score.
        words: the program.
    """

    name: str
    formula: str
    score: float
    rate: float
    words: list[list[int]]


class Comparison(NamedTuple):
    """One problem by all optimisers.

    Attributes:
        curves: mean loss of each part of the training, [seeds, K], by optimiser; nan where every rate diverges.
        first: loss before training, [seeds].
        rates: the best learning rate of each optimiser; nan where every one diverges.
    """

    curves: dict[str, Array]
    first: Array
    rates: dict[str, float]

    def final_ratio(self, name: str, other: str = "adam") -> float:
        """The final loss of one over the other's, each a mean over seeds; infinite where it always diverges."""
        floor = LEAST * float(self.first.mean())
        one, two = (max(float(self.curves[each][:, -1].mean()), floor) for each in (name, other))
        return one / two if np.isfinite(one) else float("inf")


def found_in(language: Language, best: dict[str, Tensor], count: int) -> list[Found]:
    """The best programs of a table, at most so many; the language's first program where nothing is found yet."""
    known = max(int((best["scores"] > -torch.inf).sum()), 1)
    return [
        Found(
            "found" if place == 0 else f"found_{place + 1}",
            language.formula(best["programs"][place]),
            float(best["scores"][place]),
            float(best["rates"][place]),
            best["programs"][place].tolist(),
        )
        for place in range(min(known, count))
    ]


def compared(
    measure: Measure,
    language: Language,
    best: dict[str, Tensor],
    dtype: torch.dtype,
    device: torch.device,
    options: SearchOptions,
    progress: Progress | None,
) -> Evaluation:
    """The evaluation of a search.

    Args:
        measure: the logarithm of the loss over the first one.
        language: of the programs.
        best: the table of the best ones, see `maml_rl.search.memory`.
        dtype: of trainings.
        device: of trainings.
        options: resolved ones.
        progress: called after the trainings of each optimiser on each problem.
    """
    assert options.horizon
    assert options.tasks
    found, names = found_in(language, best, options.programs), options.problems[: options.tasks]
    horizon = options.horizon
    optimisers: Optimisers = {
        **{each.name: partial(_by_program, language, each.words, horizon) for each in found},
        **REFERENCES,
    }
    drawn = (SeedSequence(options.seed).generate_state(options.tasks, np.uint64) >> np.uint64(2)).astype(np.int64)
    problems = [in_precision(problem_of(name), dtype) for name in names]
    comparisons = []
    for index, problem in enumerate(problems):
        seeds, done = torch.from_numpy(drawn[index :: len(names)]).to(device), index * len(optimisers)
        comparison = Comparison({}, np.empty(0), {})
        for place, (name, rule) in enumerate(optimisers.items()):
            comparison = _with(comparison, name, problem, rule, seeds, dtype, options)
            if progress is not None:
                progress(done + place + 1, len(names) * len(optimisers))
        comparisons.append(comparison)
    return _evaluation(measure, problems, comparisons, found, drawn, options)


def _by_program(language: Language, words: list[list[int]], horizon: int, rate: Tensor) -> Rule:
    return programmed(language, words, rate, horizon)


def _with(
    comparison: Comparison,
    name: str,
    problem: TrainingProblem,
    rule: Callable[[Tensor], Rule],
    seeds: Tensor,
    dtype: torch.dtype,
    options: SearchOptions,
) -> Comparison:
    """The comparison with one more optimiser, at its best learning rate."""
    assert options.horizon
    assert options.steps
    grid = torch.tensor(RATES, dtype=dtype, device=seeds.device).repeat_interleave(len(seeds))
    losses = trained(problem, rule, {}, grid, seeds.repeat(len(RATES)), options.horizon)
    by_rate = losses.reshape(len(RATES), len(seeds), -1)
    try:
        chosen = tuned(by_rate, RATES, options.horizon // options.steps)
        curves, rate = parts_of(chosen.losses, options.steps), chosen.rate
    except ValueError:
        curves, rate = np.full((len(seeds), options.steps), np.nan), float("nan")
    return Comparison({**comparison.curves, name: curves}, by_rate[0, :, 0], {**comparison.rates, name: rate})


def _evaluation(
    measure: Measure,
    problems: Sequence[TrainingProblem],
    comparisons: Sequence[Comparison],
    found: Sequence[Found],
    seeds: NDArray[np.int64],
    options: SearchOptions,
) -> Evaluation:
    count, logs = len(problems), {}
    for name in comparisons[0].curves:
        of_problems = [log_ratios(each.curves[name], each.first) for each in comparisons]
        places = [divmod(task, count) for task in range(len(seeds))]
        logs[name] = np.stack([of_problems[problem][:, which] for which, problem in places], 1)
    tasks = [
        {
            "problem": problems[task % count].name,
            "seed": int(seed),
            **{f"{name}_rate": rate for name, rate in comparisons[task % count].rates.items()},
        }
        for task, seed in enumerate(seeds)
    ]
    settings = {
        "problems": options.problems,
        "horizon": options.horizon,
        "programs": [{"formula": each.formula, "score": each.score, "rate": each.rate} for each in found],
    }
    values = logs.pop(found[0].name)
    return Evaluation(
        measure,
        values,
        tasks,
        "parts of the training",
        "\n".join(_told(comparisons, found, options)),
        settings,
        logs,
        figures={"trainings.png": _figure(problems, comparisons, found, options)},
    )


def _told(comparisons: Sequence[Comparison], found: Sequence[Found], options: SearchOptions) -> list[str]:
    """The lines below the table: the formulas, and final losses over tuned Adam's."""
    lines = [f"trainings of {options.horizon} steps by each optimiser, at the best of {len(RATES)} learning rates."]
    lines += [f"{each.name}: {each.formula}, score {each.score:.4g} at rate {each.rate:g}" for each in found]
    ratios = {
        name: interquartile_mean([each.final_ratio(name) for each in comparisons])
        for name in comparisons[0].curves
        if name != "adam"
    }
    lines.append("final loss over that of adam: " + ", ".join(f"{name} {ratio:.3g}" for name, ratio in ratios.items()))
    lines.append("Means of the middle half of the problems; below 1 is better than adam.")
    return lines


def _figure(
    problems: Sequence[TrainingProblem],
    comparisons: Sequence[Comparison],
    found: Sequence[Found],
    options: SearchOptions,
) -> Figure:
    columns = min(len(problems), 2)
    rows = -(-len(problems) // columns)
    draw = partial(_drawn, problems, comparisons, [each.name for each in found], options, rows, columns)
    return Figure(draw, (5.5 * columns, 3.8 * rows))


def _drawn(
    problems: Sequence[TrainingProblem],
    comparisons: Sequence[Comparison],
    found: Sequence[str],
    options: SearchOptions,
    rows: int,
    columns: int,
    figure: Any,
) -> None:
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    assert options.horizon
    assert options.steps
    at = options.horizon / options.steps * (np.arange(options.steps) + 0.5)
    for axes, problem, each in zip(grid, problems, comparisons, strict=False):
        for name, curves in each.curves.items():
            lowest = LEAST * each.first.mean()
            width = 2 if name in found else 1
            axes.plot(
                at, np.maximum(curves.mean(0), lowest), label=f"{name}, rate {each.rates[name]:.1g}", linewidth=width
            )
        axes.set_yscale("log")
        axes.set_title(problem.name, fontsize=9)
        axes.legend(fontsize=6)
        axes.set_xlabel("steps", fontsize=8)
        axes.set_ylabel("loss", fontsize=8)
        axes.grid(alpha=0.3)
    for axes in grid[len(problems) :]:
        axes.set_axis_off()
