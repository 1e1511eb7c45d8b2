"""A learned optimiser on trainings that it was not trained on, beside ordinary optimisers with tuned learning rates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.tree import flatten
from maml_rl.core.types import Meta, Rule
from maml_rl.problems.comparison import BASELINES, RATES, Tuned, interquartile_mean, running_means, trained, tuned
from maml_rl.problems.corpus import OF_FILES, problem_of
from maml_rl.problems.problem import TrainingProblem, in_precision
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Figure, Measure, Progress

__all__ = ["HELD_OUT", "ComparisonOptions", "compared"]

Array = NDArray[np.float64]

HELD_OUT = (
    "digits-128",
    "digits-64-64",
    "digits-24-24-24-24-tanh",
    "digits-32-batch-8",
    "sine-32-32",
    "quadratic-noisy",
    "quadratic-sparse",
    "bowl-steep",
    "rosenbrock",
    "beale",
)
LEARNED = "learned"
_LEAST = 1e-12  # of a loss over the first one: what is below counts as 0
_AT_THE_END = 20  # one part in so many is the end of a training


@dataclass(frozen=True)
class ComparisonOptions(EvaluationOptions):
    """How a learned optimiser is evaluated: trainings by it, and by ordinary optimisers at 14 learning rates.

    Attributes:
        steps: equal parts that a training is cut into; each measures its mean loss. 20 where nothing is given.
        tasks: trainings by each optimiser and learning rate, of one problem after the other; 5 of each where nothing is
            given.
        problems: names of `maml_rl.problems.CORPUS` or `OF_FILES`, or ``package.module:function``; those that presets
            do not train on where nothing is given, with Omniglot's characters where `data` says where they are.
        horizon: steps of a training; ten times as many as in meta-training where nothing is given.
    """

    problems: list[str] | None = None
    horizon: int | None = None

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "steps": 1, "horizon": 20}

    def resolved(self, horizon: int, data: str | None) -> "ComparisonOptions":
        """With values where nothing is given.

        Raises:
            ValueError: a training has fewer steps than parts.
        """
        steps, whole = self.steps or 20, self.horizon or horizon
        if whole < steps:
            raise ValueError(f"`horizon` must be at least `steps` {steps}, got {whole}.")
        problems = self.problems or [*HELD_OUT, *(OF_FILES if data else ())]
        return replace(self, steps=steps, horizon=whole, problems=problems, tasks=self.tasks or 5 * len(problems))


class Comparison(NamedTuple):
    """One problem by all optimisers.

    Attributes:
        losses: before each step, [seeds, horizon], by optimiser.
        rates: the best learning rate of each ordinary optimiser.
    """

    losses: dict[str, Array]
    rates: dict[str, float]

    @property
    def first(self) -> Array:
        """The loss before training, [seeds]."""
        return self.losses[LEARNED][:, 0]

    @property
    def diverged(self) -> int:
        """How many trainings by the learned optimiser came to a loss that is not finite."""
        return int((~np.isfinite(self.losses[LEARNED])).any(1).sum())

    def course(self, name: str) -> Array:
        """The loss, a mean over seeds and over as many steps as the end has, up to each step."""
        losses = self.losses[name]
        means = running_means(losses.mean(0), losses.shape[1] // _AT_THE_END)
        return np.maximum(np.nan_to_num(means, nan=np.inf), _LEAST * self.first.mean())

    def final_ratio(self, other: str) -> float:
        """The other's final loss over the learned optimiser's: above 1 it is better, 0 where it diverged."""
        return float(self.course(other)[-1] / self.course(LEARNED)[-1])

    def speed_up(self, other: str) -> float:
        """How many times fewer steps the learned one takes to the other's final loss; 0 for never."""
        reached = np.flatnonzero(self.course(LEARNED) <= self.course(other)[-1])
        horizon = self.losses[LEARNED].shape[1]
        return horizon / (reached[0] + horizon // _AT_THE_END) if len(reached) else 0.0


def compared(
    measure: Measure,
    rule: Callable[[Tensor, int], Rule],
    rates: Sequence[float],
    meta: Meta,
    data: str | None,
    options: ComparisonOptions,
    progress: Progress | None,
) -> Evaluation:
    """The evaluation of a learned optimiser.

    Args:
        measure: the logarithm of the loss over the first one.
        rule: the optimiser, of a first learning rate and of the steps of a training.
        rates: between which first learning rates are drawn; the geometric mean is taken here.
        meta: its weights.
        data: folder or archive for problems that read one.
        options: resolved ones.
        progress: called after each training of a group.

    Raises:
        ValueError: a problem there is none of.
    """
    assert options.problems
    assert options.horizon
    assert options.tasks
    names = options.problems[: options.tasks]
    weights = flatten(meta)
    problems = [in_precision(problem_of(name, data), weights.dtype) for name in names]
    drawn = (SeedSequence(options.seed).generate_state(options.tasks, np.uint64) >> np.uint64(2)).astype(np.int64)
    groups, done, comparisons = len(names) * (1 + len(BASELINES)), 0, []
    for index, problem in enumerate(problems):
        seeds = torch.from_numpy(drawn[index :: len(names)]).to(weights.device)
        lone = weights.new_full((len(seeds),), float(np.sqrt(rates[0] * rates[1])))
        losses, best = {LEARNED: trained(problem, rule, meta, lone, seeds, options.horizon)}, {}
        done = _told(progress, done, groups)
        for name, baseline in BASELINES.items():
            chosen = _tuned(problem, baseline, seeds, options.horizon, weights.dtype)
            losses[name], best[name] = chosen.losses, chosen.rate
            done = _told(progress, done, groups)
        comparisons.append(Comparison(losses, best))
    return _evaluation(measure, problems, comparisons, drawn, options)


def _tuned(
    problem: TrainingProblem,
    baseline: Callable[[Tensor, int], Rule],
    seeds: Tensor,
    horizon: int,
    dtype: torch.dtype,
) -> Tuned:
    """The best of all learning rates, by the mean loss at the end."""
    grid = torch.tensor(RATES, dtype=dtype, device=seeds.device).repeat_interleave(len(seeds))
    losses = trained(problem, baseline, {}, grid, seeds.repeat(len(RATES)), horizon)
    return tuned(losses.reshape(len(RATES), len(seeds), -1), RATES, horizon // _AT_THE_END)


def _told(progress: Progress | None, done: int, groups: int) -> int:
    if progress is not None:
        progress(done + 1, groups)
    return done + 1


def _parts(losses: Array, parts: int) -> Array:
    """The mean of each of K equal parts of curves [seeds, steps]; what is left over counts to the first one."""
    length = losses.shape[1] // parts
    kept = losses[:, losses.shape[1] - length * parts :]
    return kept.reshape(len(losses), parts, length).mean(-1)


def _evaluation(
    measure: Measure,
    problems: Sequence[TrainingProblem],
    comparisons: Sequence[Comparison],
    seeds: NDArray[np.int64],
    options: ComparisonOptions,
) -> Evaluation:
    assert options.steps
    count, logs = len(problems), {}
    places = [divmod(task, count) for task in range(len(seeds))]
    for name in (LEARNED, *BASELINES):
        of_problems = [_logs(_parts(each.losses[name], options.steps), each.first) for each in comparisons]
        logs[name] = np.stack([of_problems[problem][:, which] for which, problem in places], 1)
    tasks = [
        {"problem": problems[task % count].name, "seed": int(seed), **_against_others(comparisons[task % count])}
        for task, seed in enumerate(seeds)
    ]
    return Evaluation(
        measure,
        logs[LEARNED],
        tasks,
        "parts of the training",
        comparison_table([problem.name for problem in problems], comparisons),
        {"problems": options.problems, "horizon": options.horizon},
        {name: logs[name] for name in BASELINES},
        figures={"trainings.png": _figure(problems, comparisons)},
        numbers=_numbers(comparisons),
    )


def comparison_table(names: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    """Each problem against each ordinary optimiser, and what is said of all of them."""
    horizon = comparisons[0].losses[LEARNED].shape[1]
    width = max(len(name) for name in names)
    lines = [
        f"trainings of {horizon} steps; the others each at the best of {len(RATES)} learning rates. Other's final loss "
        "over the learned one's, and how many times fewer steps that took to the other's final loss (0: never):",
        " ".join([" " * width, *(f"{other:>17}" for other in BASELINES)]),
    ]
    lines += [
        " ".join([f"{name:<{width}}", *(_pair(each.final_ratio(other), each.speed_up(other)) for other in BASELINES)])
        for name, each in zip(names, comparisons, strict=True)
    ]
    numbers = _numbers(comparisons)
    means = [_pair(*(numbers[f"{other}_{of}_middle"][0] for of in ("final_ratio", "speed_up"))) for other in BASELINES]
    lines.append(" ".join([f"{'mean of the middle half':<{width}}", *means]))
    ahead = [sum(ratio > 1 for ratio in numbers[f"{other}_final_ratio"]) for other in BASELINES]
    lines.append(" ".join([f"{'ahead at the end':<{width}}", *(f"{f'{n} of {len(names)}':>17}" for n in ahead)]))
    diverged = sum(each.diverged for each in comparisons)
    lines.append(f"Above 1 the learned one is better; {diverged} of its trainings diverged.")
    return "\n".join(lines)


def _numbers(comparisons: Sequence[Comparison]) -> dict[str, list[float]]:
    """For each ordinary optimiser: final ratios and speed-ups of all problems, and the mean of their middle half."""
    numbers: dict[str, list[float]] = {}
    for other in BASELINES:
        ratios, speed_ups = zip(*((each.final_ratio(other), each.speed_up(other)) for each in comparisons), strict=True)
        for name, values in ((f"{other}_final_ratio", ratios), (f"{other}_speed_up", speed_ups)):
            numbers |= {name: list(values), f"{name}_middle": [interquartile_mean(values)]}
    return numbers


def _pair(ratio: float, speed_up: float) -> str:
    return f"{ratio:>8.3g} {speed_up:>8.3g}"


def _against_others(comparison: Comparison) -> dict[str, float]:
    """What the problem says of each ordinary optimiser, for the list of tasks."""
    told: dict[str, float] = {}
    for other in BASELINES:
        told[f"{other}_rate"] = comparison.rates[other]
        told[f"{other}_final_ratio"] = comparison.final_ratio(other)
        told[f"{other}_speed_up"] = comparison.speed_up(other)
    return told


def _logs(curves: Array, first: Array) -> Array:
    """log10 of losses over the first one, at least -12: 0 and then each part, [K + 1, seeds]."""
    ratios = np.concatenate([np.ones((len(first), 1)), curves / first[:, None]], 1)
    return np.log10(np.maximum(ratios, _LEAST)).T


def _figure(problems: Sequence[TrainingProblem], comparisons: Sequence[Comparison]) -> Figure:
    columns = min(len(problems), 3)
    rows = -(-len(problems) // columns)
    return Figure(partial(_drawn, problems, comparisons, rows, columns), (4 * columns, 3 * rows))


def _drawn(
    problems: Sequence[TrainingProblem],
    comparisons: Sequence[Comparison],
    rows: int,
    columns: int,
    figure: Any,
) -> None:
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, problem, each in zip(grid, problems, comparisons, strict=False):
        for name in each.losses:
            course = each.course(name)
            label = name if name == LEARNED else f"{name}, rate {each.rates[name]:.1g}"
            steps = np.arange(len(course)) + each.losses[name].shape[1] - len(course) + 1
            axes.plot(steps, course, label=label, linewidth=2 if name == LEARNED else 1)
        axes.set_yscale("log")
        axes.set_title(problem.name, fontsize=9)
        axes.legend(fontsize=6)
        axes.set_xlabel("steps", fontsize=8)
        axes.set_ylabel("loss", fontsize=8)
        axes.grid(alpha=0.3)
    for axes in grid[len(problems) :]:
        axes.set_axis_off()
