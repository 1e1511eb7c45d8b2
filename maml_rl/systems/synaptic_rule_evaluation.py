"""A learned synaptic rule on tasks that it was not learned on, beside the delta rule and Hebb's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from maml_rl.core.rules.synaptic import COEFFICIENTS, RULE, TERMS, rule_of
from maml_rl.core.tree import expand, map_tree, place
from maml_rl.core.types import Meta
from maml_rl.problems.lessons import Lesson, coded_patterns, drawn_lessons
from maml_rl.problems.plastic_lifetime import Curves, curves_of
from maml_rl.problems.plastic_network import PlasticNetwork
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Figure, Measure, Progress
from maml_rl.systems.settings import generator_of, seeds_of

__all__ = ["RATES", "RuleOptions", "evaluated"]

Array = NDArray[np.float64]

RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Rates at which the delta rule and Hebb's are tried; what counts is the one with the fewest errors at the end on
the evaluated tasks, and of equals the one with the fewest over the lifetime."""

_LEARNED, _DELTA, _HEBB = "learned", "delta rule", "Hebb"
_ORDERS = 31  # a stream


@dataclass(frozen=True)
class RuleOptions(EvaluationOptions):
    """How a rule is evaluated.

    Attributes:
        steps: equal parts of a lifetime; errors are counted before it and behind each of them. 20 where nothing is
            given.
        tasks: held-out tasks, from the first on, and again from the first where there are not so many; each once where
            nothing is given.
        presentations: of patterns, in a lifetime; as in training where nothing is given.
        weights: lifetimes for each task, each with initial weights of its own.
    """

    presentations: int | None = None
    weights: int = 20

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "steps": 1, "presentations": 1, "weights": 1}

    def resolved(self, presentations: int, tasks: int) -> "RuleOptions":
        """With numbers where nothing is given.

        Raises:
            ValueError: a lifetime has fewer presentations than parts.
        """
        steps, whole = self.steps or 20, self.presentations or presentations
        if self.steps is None:
            steps = min(steps, whole)
        if whole < steps:
            raise ValueError(f"`presentations` must be at least `steps` {steps}, got {whole}.")
        return replace(self, steps=steps, presentations=whole, tasks=self.tasks or tasks)


class Outcome(NamedTuple):
    """A rule on N tasks, R lifetimes each.

    Attributes:
        meta: the rule.
        rate: of an ordinary rule; nan for the learned one.
        errors: behind each presentation and before the first, [N, R, T + 1].
        losses: likewise.
    """

    meta: Meta
    rate: float
    errors: Array
    losses: Array


def evaluated(
    measure: Measure,
    network: PlasticNetwork,
    meta: Meta,
    held_out: Sequence[Lesson],
    options: RuleOptions,
    progress: Progress | None,
    replayed: bool = True,
) -> Evaluation:
    """The evaluation of a rule.

    Args:
        measure: the share of wrong responses.
        network: what learns by it.
        meta: the rule.
        held_out: tasks.
        options: resolved ones.
        progress: called after each rule.
        replayed: whether operations are recorded once and replayed.
    """
    assert options.steps
    assert options.presentations
    assert options.tasks
    theta, count = meta[RULE][COEFFICIENTS], options.weights
    tasks = [held_out[index % len(held_out)] for index in range(options.tasks)]
    coded = coded_patterns(network.inputs, network.kind, theta.dtype)
    generator = generator_of(options.seed, _ORDERS)
    every = [task for task in tasks for _ in range(count)]
    lessons = place(drawn_lessons(every, coded, network.kind, options.presentations, generator), theta.device)
    seeds = torch.from_numpy(seeds_of(options.seed, len(every))).to(theta.device)
    curves, total = curves_of(network, theta.dtype, replayed), 1 + 2 * len(RATES)
    done = 0

    def lived(rule: Meta, rate: float) -> Outcome:
        nonlocal done
        rule = map_tree(lambda leaf: leaf.to(theta), rule)
        measured: Curves = curves(expand(rule, len(every)), seeds, lessons)
        done += 1
        if progress is not None:
            progress(done, total)
        numbers = [
            each.double().cpu().numpy().reshape(len(tasks), count, -1) for each in (measured.errors, measured.losses)
        ]
        return Outcome(rule, rate, *numbers)

    outcomes = {_LEARNED: lived(meta, float("nan"))}
    for name, term in ((_DELTA, "x m"), (_HEBB, "x y")):
        tried = [lived(rule_of({term: rate}), rate) for rate in RATES]
        outcomes[name] = min(tried, key=lambda each: (each.errors[..., -1].mean(), each.errors.mean()))
    return _evaluation(measure, tasks, outcomes, options)


def _evaluation(
    measure: Measure, tasks: Sequence[Lesson], outcomes: dict[str, Outcome], options: RuleOptions
) -> Evaluation:
    assert options.steps
    assert options.presentations
    at = [round(part * options.presentations / options.steps) for part in range(options.steps + 1)]
    mine = outcomes[_LEARNED]
    values = mine.errors[..., at].transpose(2, 0, 1)
    also = {"learned": (values == 0).mean(-1), "loss": mine.losses[..., at].mean(1).T}
    for name in (_DELTA, _HEBB):
        also[f"error_rate {name}"] = outcomes[name].errors[..., at].mean(1).T
    told = [f"lifetimes of {options.presentations} presentations, {options.weights} initial weights for each task."]
    groups = list(dict.fromkeys(task.group for task in tasks))
    for group in groups:
        chosen = [index for index, task in enumerate(tasks) if task.group == group]
        shares = [f"{name} {_share_learned(each, chosen):.1%}" for name, each in outcomes.items()]
        told.append(f"all responses right at the end, {group}, {len(chosen)} tasks: {', '.join(shares)}.")
    best = ", ".join(f"{name} {outcomes[name].rate:g}" for name in (_DELTA, _HEBB))
    told.append(f"Rates of the others, the best of {len(RATES)} on these tasks: {best}.")
    described = [{"task": task.name, "group": task.group} for task in tasks]
    settings = {"presentations": options.presentations, "weights": options.weights}
    figures = {
        "rule.png": Figure(partial(_draw_rules, outcomes), (8, 4)),
        "errors.png": Figure(partial(_draw_errors, tasks, groups, outcomes), (1 + 3.6 * len(groups), 3.6)),
    }
    protocol = "\n".join(told)
    return Evaluation(measure, values, described, "parts of a lifetime", protocol, settings, also, figures=figures)


def _share_learned(outcome: Outcome, tasks: Sequence[int]) -> float:
    return float((outcome.errors[tasks, :, -1] == 0).mean())


def _draw_rules(outcomes: dict[str, Outcome], figure: Any) -> None:
    """The coefficients as bars, a colour for each rule, as shares of the rule's largest one."""
    axes = figure.subplots()
    width = 0.8 / len(outcomes)
    for index, (name, outcome) in enumerate(outcomes.items()):
        heights = outcome.meta[RULE][COEFFICIENTS].double().cpu().numpy()
        largest = np.abs(heights).max() or 1.0
        shifted = np.arange(len(TERMS)) + (index - 1) * width
        axes.bar(shifted, heights / largest, width, label=f"{name}, largest {largest:.3g}")
    axes.set_xticks(range(len(TERMS)), TERMS)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("term (x before the synapse, y behind it, w its weight, m the modulator)")
    axes.set_ylabel("coefficient over the largest")
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)


def _draw_errors(tasks: Sequence[Lesson], groups: Sequence[str], outcomes: dict[str, Outcome], figure: Any) -> None:
    """Errors over presentations, a panel for each group of tasks; a band from the lower to the upper quartile task."""
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        chosen = [index for index, task in enumerate(tasks) if task.group == group]
        for name, outcome in outcomes.items():
            by_task = outcome.errors[chosen].mean(1)
            shown = np.arange(by_task.shape[1])
            (line,) = axes.plot(shown, by_task.mean(0), label=name, linewidth=2 if name == _LEARNED else 1)
            low, high = np.quantile(by_task, (0.25, 0.75), axis=0)
            axes.fill_between(shown, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_title(f"{group}, {len(chosen)} held-out tasks", fontsize=9)
        axes.set_xlabel("presentations")
        axes.set_ylabel("share of wrong responses")
        axes.set_ylim(-0.02, None)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
