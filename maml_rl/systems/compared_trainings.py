"""Trainings of several problems by several optimisers: what evaluations of optimisers say and draw of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.types import Rule
from maml_rl.problems.comparison import RATES, Tuned, running_means, trained, tuned
from maml_rl.problems.corpus import OF_FILES, problem_of, require_name
from maml_rl.problems.problem import TrainingProblem, in_precision
from maml_rl.systems.evaluation import EvaluationOptions, Figure
from maml_rl.systems.settings import seeds_of

__all__ = [
    "ComparedTrainings",
    "ComparisonOptions",
    "described",
    "figure_of",
    "logarithms",
    "problems_of",
    "trained_at_best_rate",
]

Array = NDArray[np.float64]
OptionsT = TypeVar("OptionsT", bound="ComparisonOptions")

LEAST = 1e-12  # of a loss over the first one: what is below counts as this
_AT_THE_END = 20  # one part in so many is the end of a training


@dataclass(frozen=True)
class ComparisonOptions(EvaluationOptions):
    """How an optimiser is evaluated: trainings by it, and by ordinary optimisers at 14 learning rates.

    Attributes:
        steps: equal parts that a training is cut into; each measures its mean loss. 20 where nothing is given.
        tasks: trainings by each optimiser and learning rate, of one problem after the other; the system's own number
            of each where nothing is given.
        problems: names of `maml_rl.problems.CORPUS` or `OF_FILES`, or ``package.module:function``; those that presets
            do not train on where nothing is given, with Omniglot's characters where `data` says where they are.
        horizon: steps of a training; ten times as many as in meta-training where nothing is given.
    """

    problems: list[str] | None = None
    horizon: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.problems or []:
            require_name(name)

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "steps": 1, "horizon": _AT_THE_END}

    def resolved(self: OptionsT, problems: Sequence[str], horizon: int, each: int, data: str | None) -> OptionsT:
        """With values where nothing is given.

        Args:
            problems: by default, without those that read files.
            horizon: by default.
            each: trainings of each problem.
            data: where the files are that some problems read; None leaves these out.

        Raises:
            ValueError: a training has fewer steps than parts.
        """
        steps, whole = self.steps or 20, self.horizon or max(horizon, _AT_THE_END)
        if whole < steps:
            raise ValueError(f"`horizon` must be at least `steps` {steps}, got {whole}.")
        names = self.problems or [*problems, *(OF_FILES if data else ())]
        return replace(self, steps=steps, horizon=whole, problems=names, tasks=self.tasks or each * len(names))


class ComparedTrainings(NamedTuple):
    """One problem by all optimisers.

    Attributes:
        problem: its name.
        losses: before each step, [seeds, horizon], by optimiser; nan where every learning rate diverges.
        rates: the best learning rate of each optimiser that has one.
    """

    problem: str
    losses: dict[str, Array]
    rates: dict[str, float]

    @property
    def first(self) -> Array:
        """The loss before training, [seeds]."""
        return next(losses[:, 0] for losses in self.losses.values() if np.isfinite(losses[:, 0]).all())

    def diverged(self, name: str) -> int:
        """How many trainings came to a loss that is not finite."""
        return int((~np.isfinite(self.losses[name])).any(1).sum())

    def course(self, name: str) -> Array:
        """The loss, a mean over seeds and over as many steps as the end has, up to each step; infinite where one is not
        finite."""
        losses = self.losses[name]
        means = running_means(losses.mean(0), losses.shape[1] // _AT_THE_END)
        return np.maximum(np.nan_to_num(means, nan=np.inf), LEAST * self.first.mean())

    def final_ratio(self, name: str, other: str) -> float:
        """The other's final loss over this one's: above 1 this one is better, 0 where it diverged."""
        mine, theirs = self.course(name)[-1], self.course(other)[-1]
        return float(theirs / mine) if np.isfinite(mine) else 0.0

    def speed_up(self, name: str, other: str) -> float:
        """How many times fewer steps this one takes to the other's final loss; 0 for never."""
        reached = np.flatnonzero(self.course(name) <= self.course(other)[-1])
        horizon = self.losses[name].shape[1]
        return horizon / (reached[0] + horizon // _AT_THE_END) if len(reached) else 0.0


def problems_of(
    options: ComparisonOptions, data: str | None, dtype: torch.dtype, device: torch.device
) -> tuple[list[tuple[TrainingProblem, Tensor]], NDArray[np.int64]]:
    """The problems of resolved options, each with the seeds of its trainings; and the seeds of all tasks, which go from
    one problem to the next.

    Raises:
        ValueError: a problem there is none of.
    """
    assert options.problems
    assert options.tasks
    names, drawn = options.problems[: options.tasks], seeds_of(options.seed, options.tasks)
    problems = [in_precision(problem_of(name, data), dtype) for name in names]
    seeds = [torch.from_numpy(drawn[place :: len(names)]).to(device) for place in range(len(names))]
    return list(zip(problems, seeds, strict=True)), drawn


def described(
    comparisons: Sequence[ComparedTrainings],
    seeds: NDArray[np.int64],
    further: Callable[[ComparedTrainings], dict[str, float]],
) -> list[dict[str, Any]]:
    """The tasks of an evaluation: trainings of one problem after the other."""
    return [
        {"problem": each.problem, "seed": int(seed), **further(each)}
        for seed, each in zip(seeds, cycle(comparisons), strict=False)
    ]


def trained_at_best_rate(
    problem: TrainingProblem, rule: Callable[[Tensor, int], Rule], seeds: Tensor, horizon: int, dtype: torch.dtype
) -> Tuned:
    """Trainings at the best of all learning rates, by the mean loss at the end; nan where every one diverges."""
    grid = torch.tensor(RATES, dtype=dtype, device=seeds.device).repeat_interleave(len(seeds))
    losses = trained(problem, rule, {}, grid, seeds.repeat(len(RATES)), horizon).reshape(len(RATES), len(seeds), -1)
    try:
        return tuned(losses, RATES, horizon // _AT_THE_END)
    except ValueError:
        return Tuned(np.nan, np.full(losses.shape[1:], np.nan), np.full(len(RATES), np.nan))


def logarithms(comparisons: Sequence[ComparedTrainings], name: str, parts: int, tasks: int) -> Array:
    """log10 of losses over the first one, at least -12: 0 and then each part of the training, [K + 1, N].

    What is left over counts to the first part. Tasks are trainings of one problem after the other.
    """
    of_problems = []
    for each in comparisons:
        losses = each.losses[name]
        length = losses.shape[1] // parts
        means = losses[:, losses.shape[1] - length * parts :].reshape(len(losses), parts, length).mean(-1)
        ratios = np.concatenate([np.ones((len(losses), 1)), means / each.first[:, None]], 1)
        of_problems.append(np.log10(np.maximum(ratios, LEAST)).T)
    places = (divmod(task, len(comparisons)) for task in range(tasks))
    return np.stack([of_problems[problem][:, which] for which, problem in places], 1)


def figure_of(comparisons: Sequence[ComparedTrainings], in_front: Sequence[str]) -> Figure:
    """The courses of all optimisers, a panel for each problem; those in front are drawn thicker."""
    columns = min(len(comparisons), 3)
    rows = -(-len(comparisons) // columns)
    return Figure(partial(_drawn, comparisons, in_front, rows, columns), (4 * columns, 3 * rows))


def _drawn(
    comparisons: Sequence[ComparedTrainings], in_front: Sequence[str], rows: int, columns: int, figure: Any
) -> None:
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, each in zip(grid, comparisons, strict=False):
        for name, losses in each.losses.items():
            course = each.course(name)
            label = f"{name}, rate {each.rates[name]:.1g}" if name in each.rates else name
            steps = np.arange(len(course)) + losses.shape[1] - len(course) + 1
            axes.plot(steps, course, label=label, linewidth=2 if name in in_front else 1)
        axes.set_yscale("log")
        axes.set_title(each.problem, fontsize=9)
        axes.legend(fontsize=6)
        axes.set_xlabel("steps", fontsize=8)
        axes.set_ylabel("loss", fontsize=8)
        axes.grid(alpha=0.3)
    for axes in grid[len(comparisons) :]:
        axes.set_axis_off()
