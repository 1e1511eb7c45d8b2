"""Trials: a point of the space, judged by the runs of its seeds."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from maml_rl.run.errors import RunFault
from maml_rl.run.interrupts import Interrupts
from maml_rl.run.sweep.options import Options
from maml_rl.run.sweep.runs import measured, train_run
from maml_rl.run.sweep.study import OpenedStudy, require_optuna

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Trial", "judge", "ranked", "trial_of"]

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


class Trial(NamedTuple):
    """A row of the table.

    Attributes:
        number: counted from 0.
        point: dotted names and values.
        value: mean over seeds; of a pruned trial over those it was trained on; nan without any.
        seeds: the value of each seed.
        state: "complete", "pruned", "failed" or "unfinished".
        reason: why it failed.
    """

    number: int
    point: dict[str, Any]
    value: float
    seeds: dict[int, float]
    state: str
    reason: str


def trial_of(stored: "FrozenTrial") -> Trial:
    """What Optuna has stored of a trial, as a row."""
    seeds = {int(seed): value for seed, value in stored.user_attrs.get("seeds", {}).items()}
    state = _STATES.get(stored.state.name, "unfinished")
    value = fmean(seeds.values()) if seeds and state != "failed" else math.nan
    return Trial(stored.number, dict(stored.params), value, seeds, state, stored.user_attrs.get("reason", ""))


def ranked(options: Options, trials: Sequence[Trial]) -> list[Trial]:
    """Those trained on all seeds, best first."""
    sign = -1 if options.direction == "maximize" else 1
    return sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: sign * trial.value)


def judge(
    options: Options, opened: OpenedStudy, trial: "FrozenTrial", interrupts: Interrupts, say: Callable[[str], None]
) -> None:
    """Trains a trial's seeds and stores what came of it.

    Raises:
        RunFault: a disk that is full, say, which is not the trial's fault.
        KeyboardInterrupt: the trial can go on.
    """
    optuna = require_optuna()
    states, scores = optuna.trial.TrialState, dict[str, float]()
    state = states.COMPLETE
    for index, seed in enumerate(options.seeds):
        path = opened.output / f"trial-{trial.number:03d}" / f"seed-{seed}"
        try:
            with interrupts.welcome():
                train_run(opened.output / "base.yaml", {**trial.params, "seed": seed}, path, say)
            scores[str(seed)] = measured(path, options.metric, options.window)
        except RunFault as fault:
            if isinstance(fault.__cause__, OSError):  # a full disk is not the trial's fault
                raise
            opened.storage.set_trial_user_attr(trial._trial_id, "reason", f"seed {seed}: {fault}")
            state = states.FAIL
            break
        if options.pruner == "median" and index + 1 < len(options.seeds):
            opened.storage.set_trial_intermediate_value(trial._trial_id, index, fmean(scores.values()))
            so_far = opened.study.trials[trial.number]
            if optuna.pruners.MedianPruner().prune(opened.study, so_far):
                state = states.PRUNED
                break
    opened.storage.set_trial_user_attr(trial._trial_id, "seeds", scores)
    opened.study.tell(trial.number, fmean(scores.values()) if state == states.COMPLETE else None, state)
