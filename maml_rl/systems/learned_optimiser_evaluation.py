"""A learned optimiser on trainings that it was not trained on, beside ordinary optimisers with tuned learning rates."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from maml_rl.core.tree import flatten
from maml_rl.core.types import Meta, Rule
from maml_rl.problems.comparison import BASELINES, RATES, interquartile_mean, trained
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

__all__ = ["HELD_OUT", "LEARNED", "compared", "comparison_table"]

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
    assert options.horizon
    assert options.steps
    assert options.tasks
    weights, comparisons = flatten(meta), list[ComparedTrainings]()
    problems, drawn = problems_of(options, data, weights.dtype, weights.device)
    groups, done = len(problems) * (1 + len(BASELINES)), 0
    for problem, seeds in problems:
        lone = weights.new_full((len(seeds),), float(np.sqrt(rates[0] * rates[1])))
        losses, best = {LEARNED: trained(problem, rule, meta, lone, seeds, options.horizon)}, {}
        done = _told(progress, done, groups)
        for name, baseline in BASELINES.items():
            chosen = trained_at_best_rate(problem, baseline, seeds, options.horizon, weights.dtype)
            losses[name], best[name] = chosen.losses, chosen.rate
            done = _told(progress, done, groups)
        comparisons.append(ComparedTrainings(problem.name, losses, best))
    return Evaluation(
        measure,
        logarithms(comparisons, LEARNED, options.steps, options.tasks),
        described(comparisons, drawn, _against_others),
        "parts of the training",
        comparison_table(comparisons),
        {"problems": options.problems, "horizon": options.horizon},
        {name: logarithms(comparisons, name, options.steps, options.tasks) for name in BASELINES},
        figures={"trainings.png": figure_of(comparisons, [LEARNED])},
        numbers=_numbers(comparisons),
    )


def comparison_table(comparisons: Sequence[ComparedTrainings]) -> str:
    """Each problem against each ordinary optimiser, and what is said of all of them."""
    horizon = comparisons[0].losses[LEARNED].shape[1]
    width, numbers = max(22, *(len(each.problem) for each in comparisons)), _numbers(comparisons)
    lines = [
        f"trainings of {horizon} steps; the others each at the best of {len(RATES)} learning rates. Other's final loss "
        "over the learned one's, and how many times fewer steps that took to the other's final loss (0: never):",
        " ".join([" " * width, *(f"{other:>17}" for other in BASELINES)]),
    ]
    for place, each in enumerate(comparisons):
        pairs = [_pair(*(numbers[f"{other}_{of}"][place] for of in ("final_ratio", "speed_up"))) for other in BASELINES]
        lines.append(" ".join([f"{each.problem:<{width}}", *pairs]))
    means = [_pair(*(numbers[f"{other}_{of}_middle"][0] for of in ("final_ratio", "speed_up"))) for other in BASELINES]
    lines.append(" ".join([f"{'mean of the middle half':<{width}}", *means]))
    ahead = [sum(ratio > 1 for ratio in numbers[f"{other}_final_ratio"]) for other in BASELINES]
    lines.append(" ".join([f"{'ahead at the end':<{width}}", *(f"{f'{n} of {len(comparisons)}':>17}" for n in ahead)]))
    diverged = sum(each.diverged(LEARNED) for each in comparisons)
    lines.append(f"Above 1 the learned one is better; {diverged} of its trainings diverged.")
    return "\n".join(lines)


def _numbers(comparisons: Sequence[ComparedTrainings]) -> dict[str, list[float]]:
    """For each ordinary optimiser: final ratios and speed-ups of all problems, and the mean of their middle half."""
    numbers: dict[str, list[float]] = {}
    for other in BASELINES:
        each = (
            (f"{other}_final_ratio", [one.final_ratio(LEARNED, other) for one in comparisons]),
            (f"{other}_speed_up", [one.speed_up(LEARNED, other) for one in comparisons]),
        )
        for name, values in each:
            numbers |= {name: values, f"{name}_middle": [interquartile_mean(values)]}
    return numbers


def _against_others(comparison: ComparedTrainings) -> dict[str, float]:
    """What the problem says of each ordinary optimiser, for the list of tasks."""
    told: dict[str, float] = {}
    for other in BASELINES:
        told[f"{other}_rate"] = comparison.rates[other]
        told[f"{other}_final_ratio"] = comparison.final_ratio(LEARNED, other)
        told[f"{other}_speed_up"] = comparison.speed_up(LEARNED, other)
    return told


def _pair(ratio: float, speed_up: float) -> str:
    return f"{ratio:>8.3g} {speed_up:>8.3g}"


def _told(progress: Progress | None, done: int, groups: int) -> int:
    if progress is not None:
        progress(done + 1, groups)
    return done + 1
