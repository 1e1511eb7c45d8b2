"""A learned optimiser on trainings that it was not trained on, beside ordinary optimisers with tuned learning rates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.tree import flatten
from maml_rl.core.types import Meta, Rule
from maml_rl.problems.comparison import BASELINES, RATES, first_below, interquartile_mean, trained, tuned
from maml_rl.problems.corpus import problem_of
from maml_rl.problems.curves import LEAST, log_ratios, parts_of
from maml_rl.problems.problem import TrainingProblem, in_precision
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Figure, Measure, Progress

__all__ = ["HELD_OUT", "ComparisonOptions", "compared"]

Array = NDArray[np.float64]
ComparisonOptionsT = TypeVar("ComparisonOptionsT", bound="ComparisonOptions")

HELD_OUT = (
    "digits-128",
    "digits-64-64",
    "digits-24-24-24-24-tanh",
    "digits-32-batch-8",
    "sine-32-32",
    "rosenbrock",
    "beale",
)
LEARNED = "learned"


@dataclass(frozen=True)
class ComparisonOptions(EvaluationOptions):
    """How a learned optimiser is evaluated: trainings by it, and by Adam, momentum and RMSProp at 14 learning rates.

    Attributes:
        steps: equal parts that a training is cut into; each measures its mean loss. 20 where nothing is given.
        tasks: trainings by each optimiser and learning rate, of one problem after the other; 5 of each where nothing is
            given.
        problems: names of `maml_rl.problems.corpus.CORPUS`, or ``package.module:function``.
        horizon: steps of a training; ten times as many as in meta-training where nothing is given.
    """

    problems: list[str] = field(default_factory=lambda: list(HELD_OUT))
    horizon: int | None = None

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "steps": 1, "horizon": 1}

    def resolved(self: ComparisonOptionsT, horizon: int, each: int = 5) -> ComparisonOptionsT:
        """With numbers where nothing is given: of steps, and of trainings of each problem.

        Raises:
            ValueError: a training has fewer steps than parts.
        """
        steps, whole = self.steps or 20, self.horizon or horizon
        if whole < steps:
            raise ValueError(f"`horizon` must be at least `steps` {steps}, got {whole}.")
        return replace(self, steps=steps, horizon=whole, tasks=self.tasks or each * len(self.problems))


class Comparison(NamedTuple):
    """One problem by all optimisers.

    Attributes:
        curves: mean loss of each part of the training, [seeds, K], by optimiser.
        first: loss before training, [seeds].
        rates: the best learning rate of each ordinary optimiser.
    """

    curves: dict[str, Array]
    first: Array
    rates: dict[str, float]

    def final_ratio(self, other: str) -> float:
        """The other's final loss over the learned optimiser's, each a mean over seeds: above 1 it is better."""
        floor = LEAST * float(self.first.mean())
        ends = {name: max(float(self.curves[name][:, -1].mean()), floor) for name in (other, LEARNED)}
        return ends[other] / ends[LEARNED]

    def speed_up(self, other: str) -> float:
        """How many times sooner the learned one has the other's final loss, in parts of a training; 0 for never."""
        mine, level = self.curves[LEARNED].mean(0), max(self.curves[other][:, -1].mean(), LEAST * self.first.mean())
        return len(mine) / (first_below(mine, float(level)) + 1)


def compared(
    measure: Measure,
    rule: Callable[[Tensor], Rule],
    rates: Sequence[float],
    meta: Meta,
    options: ComparisonOptions,
    progress: Progress | None,
) -> Evaluation:
    """The evaluation of a learned optimiser.

    Args:
        measure: the logarithm of the loss over the first one.
        rule: the optimiser, of a first learning rate.
        rates: between which first learning rates are drawn; the geometric mean is taken here.
        meta: its weights.
        options: resolved ones.
        progress: called after each training of a group.
    """
    assert options.horizon
    assert options.steps
    assert options.tasks
    names = options.problems[: options.tasks]
    groups, done = len(names) * (1 + len(BASELINES)), 0
    first_rate = float(np.sqrt(rates[0] * rates[1]))
    drawn = (SeedSequence(options.seed).generate_state(options.tasks, np.uint64) >> np.uint64(2)).astype(np.int64)
    weights = flatten(meta)
    device, comparisons = weights.device, []
    problems = [in_precision(problem_of(name), weights.dtype) for name in names]
    for index, problem in enumerate(problems):
        seeds = torch.from_numpy(drawn[index :: len(names)]).to(device)
        lone = torch.full((len(seeds),), first_rate, dtype=weights.dtype, device=device)
        losses = trained(problem, rule, meta, lone, seeds, options.horizon)
        curves, first, best = {LEARNED: parts_of(losses, options.steps)}, losses[:, 0], {}
        done = _told(progress, done, groups)
        for name, baseline in BASELINES.items():
            grid = torch.tensor(RATES, dtype=weights.dtype, device=device).repeat_interleave(len(seeds))
            losses = trained(problem, baseline, {}, grid, seeds.repeat(len(RATES)), options.horizon)
            by_rate = losses.reshape(len(RATES), len(seeds), -1)
            chosen = tuned(by_rate, RATES, options.horizon // options.steps)
            curves[name], best[name] = parts_of(chosen.losses, options.steps), chosen.rate
            done = _told(progress, done, groups)
        comparisons.append(Comparison(curves, first, best))
    return _evaluation(measure, problems, comparisons, drawn, options)


def _told(progress: Progress | None, done: int, groups: int) -> int:
    if progress is not None:
        progress(done + 1, groups)
    return done + 1


def _evaluation(
    measure: Measure,
    problems: Sequence[TrainingProblem],
    comparisons: Sequence[Comparison],
    seeds: NDArray[np.int64],
    options: ComparisonOptions,
) -> Evaluation:
    count, logs = len(problems), {}
    for name in (LEARNED, *BASELINES):
        of_problems = [log_ratios(each.curves[name], each.first) for each in comparisons]
        places = [divmod(task, count) for task in range(len(seeds))]
        logs[name] = np.stack([of_problems[problem][:, which] for which, problem in places], 1)
    told = [f"trainings of {options.horizon} steps; others at the best of {len(RATES)} learning rates."]
    for other in BASELINES:
        ratio = interquartile_mean([each.final_ratio(other) for each in comparisons])
        sooner = interquartile_mean([each.speed_up(other) for each in comparisons])
        told.append(
            f"{other}: {ratio:.3g} times the learned one's final loss, which that had {sooner:.3g} times sooner."
        )
    told.append("Means of the middle half of the problems; above 1 the learned one is better, 0 times sooner is never.")
    tasks = [
        {"problem": problems[task % count].name, "seed": int(seed), **_against_others(comparisons[task % count])}
        for task, seed in enumerate(seeds)
    ]
    settings = {"problems": options.problems, "horizon": options.horizon}
    return Evaluation(
        measure,
        logs[LEARNED],
        tasks,
        "parts of the training",
        "\n".join(told),
        settings,
        {name: logs[name] for name in BASELINES},
        figures={"trainings.png": _figure(problems, comparisons, options)},
    )


def _against_others(comparison: Comparison) -> dict[str, float]:
    """What the problem says of each ordinary optimiser, for the list of tasks."""
    told: dict[str, float] = {}
    for other in BASELINES:
        told[f"{other}_rate"] = comparison.rates[other]
        told[f"{other}_final_ratio"], told[f"{other}_speed_up"] = (
            comparison.final_ratio(other),
            comparison.speed_up(other),
        )
    return told


def _figure(
    problems: Sequence[TrainingProblem], comparisons: Sequence[Comparison], options: ComparisonOptions
) -> Figure:
    columns = min(len(problems), 3)
    rows = -(-len(problems) // columns)
    return Figure(partial(_drawn, problems, comparisons, options, rows, columns), (4 * columns, 3 * rows))


def _drawn(
    problems: Sequence[TrainingProblem],
    comparisons: Sequence[Comparison],
    options: ComparisonOptions,
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
            label = name if name == LEARNED else f"{name}, rate {each.rates[name]:.1g}"
            axes.plot(
                at,
                np.maximum(curves.mean(0), LEAST * each.first.mean()),
                label=label,
                linewidth=2 if name == LEARNED else 1,
            )
        axes.set_yscale("log")
        axes.set_title(problem.name, fontsize=9)
        axes.legend(fontsize=6)
        axes.set_xlabel("steps", fontsize=8)
        axes.set_ylabel("loss", fontsize=8)
        axes.grid(alpha=0.3)
    for axes in grid[len(problems) :]:
        axes.set_axis_off()
