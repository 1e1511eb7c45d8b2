"""The best programs of a search on problems that it never saw, beside ordinary optimisers with tuned learning rates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.rules.agreement import add_sign, power_sign
from maml_rl.core.rules.language import Language
from maml_rl.core.rules.programmed import programmed
from maml_rl.core.types import Rule
from maml_rl.problems.comparison import BASELINES, RATES, interquartile_mean
from maml_rl.systems.compared_trainings import (
    ComparedTrainings,
    ComparisonOptions,
    described,
    figure_of,
    logarithms,
    problems_of,
    trained_at_best_rate,
)
from maml_rl.systems.evaluation import Evaluation, Measure, Progress

__all__ = ["HELD_OUT", "Found", "SearchOptions", "compared", "found_in"]

Optimisers = dict[str, Callable[[Tensor, int], Rule]]

HELD_OUT = ("digits-64-64", "digits-24-24-24-24-tanh", "digits-convolutional", "sine-32-32")


def _steady(rate: Tensor) -> Any:
    return lambda step: rate


REFERENCES: Optimisers = {
    **BASELINES,
    "power_sign": lambda rate, horizon: power_sign(_steady(rate)),
    "add_sign": lambda rate, horizon: add_sign(_steady(rate)),
}
"""Tuned optimisers, and the two that the paper of the search is known for."""


@dataclass(frozen=True)
class SearchOptions(ComparisonOptions):
    """How a search is evaluated: trainings by its best programs and by others, each at the best of 14 learning rates.

    Attributes:
        steps: equal parts that a training is cut into; each measures its mean loss. 20 where nothing is given.
        tasks: trainings by each optimiser and learning rate, of one problem after the other; 2 of each where nothing is
            given.
        problems: names of `maml_rl.problems.CORPUS` or `OF_FILES`, or ``package.module:function``; other networks than
            those of the search where nothing is given, with Omniglot's characters where `data` says where they are.
        horizon: steps of a training; ten times as many as in the search where nothing is given.
        programs: how many of the best programs are trained by.
    """

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
    data: str | None,
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
        data: folder or archive for problems that read one.
        options: resolved ones.
        progress: called after the trainings of each optimiser on each problem.
    """
    assert options.horizon
    assert options.steps
    assert options.tasks
    found, comparisons = found_in(language, best, options.programs), list[ComparedTrainings]()
    optimisers: Optimisers = {**{each.name: partial(_by_program, language, each.words) for each in found}, **REFERENCES}
    problems, drawn = problems_of(options, data, dtype, device)
    for problem, seeds in problems:
        done, comparison = len(comparisons) * len(optimisers), ComparedTrainings(problem.name, {}, {})
        for place, (name, rule) in enumerate(optimisers.items()):
            chosen = trained_at_best_rate(problem, rule, seeds, options.horizon, dtype)
            comparison.losses[name], comparison.rates[name] = chosen.losses, chosen.rate
            if progress is not None:
                progress(done + place + 1, len(problems) * len(optimisers))
        comparisons.append(comparison)
    settings = {
        "problems": options.problems,
        "horizon": options.horizon,
        "programs": [{"formula": each.formula, "score": each.score, "rate": each.rate} for each in found],
    }
    logs = {name: logarithms(comparisons, name, options.steps, options.tasks) for name in optimisers}
    ratios = _ratios(comparisons)
    return Evaluation(
        measure,
        logs.pop(found[0].name),
        described(comparisons, drawn, lambda each: {f"{name}_rate": rate for name, rate in each.rates.items()}),
        "parts of the training",
        "\n".join(_told(comparisons, ratios, found, options.horizon)),
        settings,
        logs,
        figures={"trainings.png": figure_of(comparisons, [each.name for each in found])},
        numbers=ratios,
    )


def _by_program(language: Language, words: list[list[int]], rate: Tensor, horizon: int) -> Rule:
    return programmed(language, words, rate, horizon)


def _ratios(comparisons: Sequence[ComparedTrainings]) -> dict[str, list[float]]:
    """Adam's final loss over that of each optimiser, for all problems, and the mean of their middle half."""
    numbers: dict[str, list[float]] = {}
    for name in comparisons[0].losses:
        values = [each.final_ratio(name, "adam") for each in comparisons]
        numbers |= {f"{name}_final_ratio": values, f"{name}_final_ratio_middle": [interquartile_mean(values)]}
    return numbers


def _told(
    comparisons: Sequence[ComparedTrainings], ratios: dict[str, list[float]], found: Sequence[Found], horizon: int
) -> list[str]:
    """The lines below the table: the formulas, and tuned Adam's final loss over each other's."""
    lines = [f"trainings of {horizon} steps by each optimiser, at the best of {len(RATES)} learning rates."]
    lines += [f"{each.name}: {each.formula}, score {each.score:.4g} at rate {each.rate:g}" for each in found]
    names = [name for name in comparisons[0].losses if name != "adam"]
    width = max(len("mean of the middle half"), *(len(each.problem) for each in comparisons))
    lines += ["Adam's final loss over that of each other; above 1 is better than Adam:"]
    lines.append(" ".join([" " * width, *(f"{name:>11}" for name in names)]))
    for place, each in enumerate(comparisons):
        values = [f"{ratios[f'{name}_final_ratio'][place]:>11.3g}" for name in names]
        lines.append(" ".join([f"{each.problem:<{width}}", *values]))
    middles = [f"{ratios[f'{name}_final_ratio_middle'][0]:>11.3g}" for name in names]
    lines.append(" ".join([f"{'mean of the middle half':<{width}}", *middles]))
    return lines
