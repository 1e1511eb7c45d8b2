"""What differs among runs: their settings, and whatever makes a comparison of them less than fair."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maml_rl.run.compare import Adaptation
from maml_rl.run.report.gather import Run
from maml_rl.run.report.groups import CHANCE, Group, joined

__all__ = ["DASH", "differences", "warnings_about"]

DASH = "–"  # noqa: RUF001
_TASK_SETTINGS = ("arguments", "max_episode_steps")
_OF_ONE_RUN = ("run", "iteration", "seconds", "device", "steps", "tasks_name")


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The keys of the configurations that are not the same in all runs, with each run's value in words.

    A run whose system has no such key has a dash. Runs without a configuration are not among them.
    """
    configs = [run.config for run in runs if run.config]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = {key: [_in_words(config[key]) if key in config else DASH for config in configs] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def warnings_about(groups: Sequence[Group]) -> list[str]:
    """What makes the comparison less than fair, in words."""
    runs = [run for group in groups for run in group.runs]
    warnings = [*_different_distributions(runs), *_different_evaluations(runs)]
    for group in groups:
        keys = sorted(differences(group.runs).keys() - set(CHANCE))
        if keys:
            warnings.append(f"the runs called {group.name} differ in more than their seed: {', '.join(keys)}.")
        seeds = [run.seed for run in group.runs if run.seed is not None]
        if len(set(seeds)) < len(seeds):
            warnings.append(f"{group.name} has runs of the same seed; its interval takes them for independent.")
    return warnings


def _different_distributions(runs: Sequence[Run]) -> list[str]:
    tasks = _names_by_value(runs, lambda run: run.task)
    if len(tasks) > 1:
        return [f"the runs are of different tasks: {_listed(tasks)}."]
    values = {key: _names_by_value(runs, lambda run: run.config.get(key)) for key in _task_keys(runs)}  # noqa: B023
    warnings = [
        f"the runs set {key} of their task differently: {_listed(names)}."
        for key, names in values.items()
        if len(names) > 1
    ]
    one_sided = [f"{key} ({', '.join(names)})" for key, names in values.items() if len(names) == 1]
    if one_sided:
        warnings.append(
            f"some runs set {', '.join(one_sided)}, others leave the task's default: alike only if it is the same."
        )
    return warnings


def _task_keys(runs: Sequence[Run]) -> list[str]:
    """Keys of the tasks' arguments that differ among the runs, or that some of them do not set."""
    beginnings = tuple(f"{run.tasks}.{name}" for run in runs if run.tasks for name in _TASK_SETTINGS)
    return sorted(key for key in differences(runs) if key.startswith(beginnings))


def _different_evaluations(runs: Sequence[Run]) -> list[str]:
    evaluated = [(run, run.adaptation) for run in runs if run.adaptation is not None]
    warnings = []
    if len({(adaptation.task_count, adaptation.task_digest) for _, adaptation in evaluated}) > 1:
        warnings.append("the evaluations are of different tasks.")
    settings = {run.name: _settings(adaptation) for run, adaptation in evaluated}
    for key in dict.fromkeys(name for each in settings.values() for name in each):
        values = _names_by_value([run for run, _ in evaluated], lambda run: settings[run.name].get(key))  # noqa: B023
        if len(values) > 1 and not (key == "learning_rates" and _go_on_from_each_other(list(values))):
            warnings.append(f"the evaluations differ in {key}: {_listed(values)}.")
    return warnings


def _go_on_from_each_other(rates: Sequence[str]) -> bool:
    """Whether each list of rates is the beginning of the longest: more steps are no other rates."""
    longest = max(rates, key=len)
    return all(f"{longest},".startswith(f"{each},") for each in rates)


def _settings(adaptation: Adaptation) -> dict[str, str]:
    """How an evaluation was done, in words; of its rates not that the last one goes on."""
    settings = {key: value for key, value in adaptation.settings.items() if key not in _OF_ONE_RUN}
    rates = settings.get("learning_rates")
    if isinstance(rates, list):
        while len(rates) > 1 and rates[-1] == rates[-2]:
            rates = rates[:-1]
        settings["learning_rates"] = ", ".join(map(_in_words, rates)) or None
    settings["axis"] = adaptation.axis
    return {key: _in_words(value) for key, value in settings.items() if value is not None}


def _names_by_value(runs: Sequence[Run], value_of: Callable[[Run], Any]) -> dict[str, list[str]]:
    """Names of the runs by the value, in words, that they have; those that have none are not among them."""
    names: dict[str, list[str]] = {}
    for run in runs:
        value = value_of(run)
        if value is not None:
            names.setdefault(_in_words(value), []).append(run.name)
    return names


def _in_words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _listed(names: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{value} ({joined(each)})" for value, each in names.items())
