"""Runs that differ in their seed only as one: means over seeds with intervals; what differs among groups; warnings."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.compare import Adaptation
from maml_rl.run.report.gather import Run

__all__ = [
    "Curve",
    "Group",
    "adaptation_of",
    "differences",
    "grouped",
    "half_width",
    "mean_adaptation",
    "mean_curve",
    "warnings_about",
]

Array = NDArray[np.float64]
_CHANCE = ("seed", "torch_threads")
_ABOUT_EVALUATIONS = ("axis", "checkpoint", "split", "support", "episodes", "ensemble", "rates", "seed")
# Student's t at 97.5% for 1 to 10 degrees of freedom.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL = 1.959964


class Group(NamedTuple):
    """Runs that are repetitions of each other.

    Attributes:
        name: what they are called together.
        runs: at least one.
    """

    name: str
    runs: tuple[Run, ...]


class Curve(NamedTuple):
    """A mean and half the width of its 95% interval.

    Attributes:
        places: where, [P].
        means: [P].
        widths: [P]; None where nothing is known of them.
        over: what the interval is over: "seeds", "tasks", or empty for none.
    """

    places: Array
    means: Array
    widths: Array | None
    over: str


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs of one label, or where there are no labels runs whose configurations differ in their seed only."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_key(run), []).append(run)
    names = _group_names([[run.name for run in found] for found in members.values()])
    return [Group(found[0].label or name, tuple(found)) for found, name in zip(members.values(), names, strict=True)]


def _group_names(members: Sequence[Sequence[str]]) -> list[str]:
    """The folder that the runs of a group, and none of another, are in; otherwise their names in a row."""
    shared = [_shared_folder(names) for names in members]
    return [
        folder if folder and len(names) > 1 and shared.count(folder) == 1 else _joined(names)
        for folder, names in zip(shared, members, strict=True)
    ]


def _shared_folder(names: Sequence[str]) -> str:
    folders = {name.rpartition("/")[0] for name in names}
    return folders.pop() if len(folders) == 1 else ""


def _key(run: Run) -> str:
    if run.label is not None:
        return run.label
    if not run.config:
        return str(run.folder.resolve())
    return json.dumps({name: value for name, value in run.config.items() if name not in _CHANCE}, default=str)


def _joined(names: Sequence[str], most: int = 48) -> str:
    whole = ", ".join(names)
    return whole if len(whole) <= most or len(names) < 3 else f"{names[0]} to {names[-1]}"


def half_width(values: Array) -> Array:
    """Half the width of the 95% interval of the mean over seeds by Student's t, [S, P] to [P]; nan for one seed."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1:], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # of a seed that diverged; a chart leaves the place out
        return _student(count - 1) * values.std(0, ddof=1) / np.sqrt(count)


def _student(freedom: int) -> float:
    """The factor of a 95% interval; beyond the table by the expansion in 1 / freedom."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    return _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom) + 2.8224 / freedom**2


def mean_curve(curves: Sequence[tuple[Array, Array]]) -> Curve:
    """The mean of curves of (places, values), where all of them have some.

    Curves at different places are interpolated between their points.
    """
    if len(curves) == 1:
        return Curve(*curves[0], None, "")
    first, last = max(places[0] for places, _ in curves), min(places[-1] for places, _ in curves)
    union = np.unique(np.concatenate([places for places, _ in curves]))
    grid = union[(union >= first) & (union <= last)]
    values = np.array([np.interp(grid, places, values) for places, values in curves])
    with np.errstate(invalid="ignore", over="ignore"):
        return Curve(grid, values.mean(0), half_width(values), "seeds")


def mean_adaptation(runs: Sequence[Run]) -> Curve | None:
    """The mean over gradient steps that all of the runs' evaluations have; None if there are none.

    Its interval is over seeds where there are several, otherwise over the evaluation's tasks.
    """
    found = [run.adaptation for run in runs if run.adaptation is not None]
    if not found:
        return None
    if len(found) == 1:
        return Curve(np.arange(len(found[0].means), dtype=float), found[0].means, found[0].intervals, "tasks")
    count = min(len(adaptation.means) for adaptation in found)
    values = np.array([adaptation.means[:count] for adaptation in found])
    return Curve(np.arange(count, dtype=float), values.mean(0), half_width(values), "seeds")


def adaptation_of(group: Group) -> Adaptation | None:
    """A group's mean adaptation curve under the group's name; None if its runs have none."""
    curve = mean_adaptation(group.runs)
    first = next((run.adaptation for run in group.runs if run.adaptation is not None), None)
    if curve is None or first is None:
        return None
    widths = np.full_like(curve.means, np.nan) if curve.widths is None else curve.widths
    return first._replace(name=group.name, means=curve.means, intervals=widths)


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The keys of the resolved configurations that are not the same in all runs, with each run's value in words.

    A run whose system has no such key has a dash. Runs without a configuration are not among them.
    """
    configs = [run.config for run in runs if run.config]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = {key: [_shown(config[key]) if key in config else "–" for config in configs] for key in keys}  # noqa: RUF001
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def warnings_about(groups: Sequence[Group]) -> list[str]:
    """What makes the comparison less than fair, in words."""
    runs = [run for group in groups for run in group.runs]
    found = [*_different_distributions(runs), *_different_evaluations(runs)]
    for group in groups:
        keys = sorted(differences(group.runs).keys() - set(_CHANCE))
        if keys:
            found.append(f"the runs called {group.name} differ in more than their seed: {', '.join(keys)}.")
        seeds = [run.seed for run in group.runs if run.seed is not None]
        if len(set(seeds)) < len(seeds):
            found.append(f"{group.name} has runs of the same seed; its interval takes them for independent.")
    return found


def _different_distributions(runs: Sequence[Run]) -> list[str]:
    of_task = _by_value(runs, lambda run: run.task)
    if len(of_task) > 1:
        return [f"the runs are of different tasks: {_in_words(of_task)}."]
    values = {key: _by_value(runs, lambda run: run.config.get(key)) for key in _about_tasks(runs)}  # noqa: B023
    found = [
        f"the runs set {key} of their task differently: {_in_words(names)}."
        for key, names in values.items()
        if len(names) > 1
    ]
    one_sided = [f"{key} ({', '.join(names)})" for key, names in values.items() if len(names) == 1]
    if one_sided:
        found.append(
            f"some runs set {', '.join(one_sided)}, others leave the task's default: alike only if it is the same."
        )
    return found


def _about_tasks(runs: Sequence[Run]) -> list[str]:
    """Keys of the tasks' arguments that differ among the runs, or that some of them do not set."""
    parts = ("environment.arguments", "environment.max_episode_steps", "distribution.arguments")
    return sorted(key for key in differences(runs) if key.startswith(parts))


def _different_evaluations(runs: Sequence[Run]) -> list[str]:
    evaluated = [(run, run.adaptation) for run in runs if run.adaptation is not None]
    found = []
    if len({_shown(adaptation.tasks) for _, adaptation in evaluated}) > 1:
        found.append("the evaluations are of different tasks.")
    settings = {run.name: _settings(adaptation) for run, adaptation in evaluated}
    rates = [told["rates"] for told in settings.values() if "rates" in told]
    longest = max(rates, key=len, default="")
    for key in _ABOUT_EVALUATIONS:
        if key == "rates" and all((longest + ",").startswith(each + ",") for each in rates):
            continue  # more steps are no other rates
        told = _by_value([run for run, _ in evaluated], lambda run: settings[run.name].get(key))  # noqa: B023
        if len(told) > 1:
            found.append(f"the evaluations differ in {key}: {_in_words(told)}.")
    return found


def _settings(adaptation: Adaptation) -> dict[str, str]:
    """How an evaluation was done, in words; of its rates not that the last one goes on."""
    settings = {key: value for key, value in adaptation.settings.items() if value is not None}
    rates = settings.get("rates")
    if isinstance(rates, list):
        while len(rates) > 1 and rates[-1] == rates[-2]:
            rates = rates[:-1]
        settings["rates"] = ", ".join(map(_shown, rates)) or None
    settings["axis"] = adaptation.axis
    return {key: _shown(value) for key, value in settings.items() if value is not None}


def _by_value(runs: Sequence[Run], value_of: Callable[[Run], Any]) -> dict[str, list[str]]:
    """Names of the runs by the value, in words, that they have; those that have none are not among them."""
    found: dict[str, list[str]] = {}
    for run in runs:
        value = value_of(run)
        if value is not None:
            found.setdefault(_shown(value), []).append(run.name)
    return found


def _in_words(told: dict[str, list[str]]) -> str:
    return ", ".join(f"{value} ({_joined(names)})" for value, names in told.items())
