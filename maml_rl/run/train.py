"""The training loop of every system: iterate, record, save; resume exactly; lose nothing when something breaks."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

from tqdm import tqdm

from maml_rl.run.checkpoint import fitted
from maml_rl.run.errors import RunFault, told
from maml_rl.run.folder import RunFolder
from maml_rl.run.interrupts import Interrupts
from maml_rl.run.progress import CurveColumns
from maml_rl.run.records import Records
from maml_rl.run.schedules import PICTURE, draw_schedules
from maml_rl.run.training_run import TrainingRun
from maml_rl.systems.system import Gain, MetricRoles, Metrics, State, System, is_time

__all__ = ["train"]

_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def train(run: TrainingRun, say: Callable[[str], None] = tqdm.write) -> bool:
    """Runs meta-iterations to the configuration's number, with a checkpoint `last` after each report, and the `best`.

    `best` is the state with the highest selection metric: where `iterate` reports it, it is that of the state before
    its update, whose own data it speaks of; where `validate` does, that of the state after. In the end, or where
    training was interrupted or broke, `schedules.png` shows the courses of the metrics that `roles.schedules` names.

    Args:
        run: what to train, from its initial state, or from the folder's `last` where there is none.
        say: how messages reach the user.

    Returns:
        Whether training came to its end; False after an interrupt.

    Raises:
        RunFault: something broke; the message names the iteration. The last good state is saved.
    """
    system, folder, initial = run
    iterations = system.config.iterations
    if initial is None:
        progress = _Progress.resumed(folder, system)
    else:
        progress = _Progress(initial, system.roles.totals + system.roles.sums)
        folder.save("last", progress.content())
    if progress.iteration >= iterations and not progress.row.counted:
        asked = "no iterations are asked for: the run holds the initial state."
        done = f"the run already has {progress.iteration} iterations; ask for more by --iterations."
        say(done if progress.iteration else asked)
        return True
    watch = _GainWatch(system.roles.gain)
    with (
        Interrupts() as interrupts,
        Records(folder.path, progress.iteration, system.roles.groups) as records,
        tqdm(total=iterations, initial=progress.iteration, unit="it", dynamic_ncols=True, leave=None) as bar,
    ):
        try:
            while progress.iteration < iterations or progress.row.counted:
                with interrupts.welcome():
                    metrics, validation = _finish_row(system, progress, iterations, bar)
                _require_roles(system.roles, {**metrics, **validation})
                _take_over(progress, metrics, validation, system, folder)
                metrics = {**metrics, **progress.totals, **validation}
                records.write(progress.iteration - 1, metrics)
                folder.save("last", progress.content())
                folder.keep([iteration for _, iteration in progress.kept])
                bar.set_postfix_str(system.summary(metrics))
                for warning in (watch.see(progress.iteration - 1, metrics), _diverged(system, progress, validation)):
                    if warning:
                        say(warning)
            interrupts.check()
        except KeyboardInterrupt:
            folder.save("last", progress.content())
            bar.close()  # or it is drawn once more behind the message
            say(f"interrupted after {progress.iteration} iterations; go on with --resume.")
            return False
        except RunFault:
            folder.save("last", progress.content())
            raise
        finally:
            _draw_schedules(system, folder, say)
    return True


def _draw_schedules(system: System[Any, Any], folder: RunFolder, say: Callable[[str], None]) -> None:
    """Draws the schedules that the system declares; what goes wrong with it is told, and breaks nothing."""
    roles = system.roles
    if not roles.schedules:
        return
    try:
        draw_schedules(
            folder.path,
            CurveColumns(folder.system.name, system.measure, roles.learning_curve, roles.totals, roles.schedules),
        )
    except Exception as error:  # whatever a library of pictures may raise, the run itself is saved
        say(f"warning: {PICTURE} could not be drawn: {told(error)}")


class _Row(NamedTuple):
    """A row of metrics in the making: the state, what its iterations summed up to, and how many they are.

    It is replaced as a whole after each iteration, so an interrupt finds it either before or after one.
    """

    state: State
    iteration: int
    sums: dict[str, float]
    counted: int


class _Progress:
    """Where a run stands: state, iterations done, metrics summed up since its beginning, and the best states so far.

    `before` is the state that the row in the making began with; `kept` names the best states, best first, by score and
    iteration, where more than one is kept.
    """

    def __init__(self, state: State, totals: Sequence[str], iteration: int = 0) -> None:
        self.row = _Row(state, iteration, {}, 0)
        self.before = state
        self.totals, self.best = dict.fromkeys(totals, 0.0), -math.inf
        self.kept: list[tuple[float, int]] = []

    @property
    def state(self) -> State:
        """After the iterations done so far."""
        return self.row.state

    @property
    def iteration(self) -> int:
        """How many are done."""
        return self.row.iteration

    @classmethod
    def resumed(cls, folder: RunFolder, system: System[Any, Any]) -> "_Progress":
        content, template = folder.load("last"), system.state_template()
        progress = cls(fitted(content["state"], template, folder.path), (), content["iteration"])
        progress.totals, progress.best = content["totals"], content["best"]
        progress.kept = [(score, at) for score, at in content.get("kept", [])]
        progress.row = progress.row._replace(sums=content.get("sums", {}), counted=content.get("counted", 0))
        if progress.row.counted:
            progress.before = fitted(content["before"], template, folder.path)
        return progress

    def content(self) -> dict[str, Any]:
        """What a checkpoint of the present state holds."""
        return {
            **self._content(self.row.state, self.row.iteration),
            "sums": self.row.sums,
            "counted": self.row.counted,
            "before": self.before if self.row.counted else None,
        }

    def consider(self, score: float, state: State, iteration: int, keep: int, folder: RunFolder) -> None:
        """Saves a state as `best`, and as one of the `keep` best, if its score is among theirs; nan never is."""
        if math.isnan(score):
            return
        better = score > self.best
        self.best = max(score, self.best)
        if keep > 1 and score > -math.inf:
            kept = sorted([*self.kept, (score, iteration)], key=lambda item: -item[0])[:keep]
            if (score, iteration) in kept:
                self.kept = kept
                folder.save(f"validated-{iteration}", self._content(state, iteration))
        if better:
            folder.save("best", self._content(state, iteration))

    def _content(self, state: State, iteration: int) -> dict[str, Any]:
        return {
            "state": state,
            "iteration": iteration,
            "totals": self.totals,
            "best": self.best,
            "kept": self.kept,
        }


def _finish_row(
    system: System[Any, Any], progress: _Progress, iterations: int, bar: "tqdm[Any]"
) -> tuple[Metrics, Metrics]:
    """Iterates to the end of the row: what is said of it, and the validation of the state it ends with."""
    start = progress.iteration - progress.row.counted
    end = min((start // system.report_every + 1) * system.report_every, iterations)
    while progress.iteration < end or not progress.row.counted:
        row, began = progress.row, perf_counter()
        try:
            state, metrics = system.iterate(row.state, row.iteration)
            metrics = _numbers(metrics, perf_counter() - began)
        except _FAULTS as error:
            raise RunFault(
                f"iteration {row.iteration}: {told(error)} The checkpoint `last` holds the state before this iteration."
            ) from error
        sums = {name: row.sums.get(name, 0.0) + value for name, value in metrics.items()}
        progress.row = _Row(state, row.iteration + 1, sums, row.counted + 1)
        bar.update()
    means = system.row(
        {name: value / progress.row.counted for name, value in progress.row.sums.items()}, progress.state
    )
    try:
        return means, system.validate(progress.state, progress.iteration)
    except _FAULTS as error:
        raise RunFault(
            f"validation after iteration {progress.iteration - 1}: {told(error)} "
            "The checkpoint `last` holds that state."
        ) from error


def _numbers(metrics: Metrics, seconds: float) -> Metrics:
    """The metrics, with the iteration's seconds where the system reports no times.

    Raises:
        ValueError: a metric is not a number.
    """
    wrong = [name for name, value in metrics.items() if not isinstance(value, (int, float))]
    if wrong:
        raise ValueError(f"the metric {wrong[0]!r} must be a number, got {metrics[wrong[0]]!r}.")
    return metrics if any(map(is_time, metrics)) else {**metrics, "iteration_s": seconds}


def _require_roles(roles: MetricRoles, reported: Metrics) -> None:
    """Raises `RunFault` where a role names a metric that training does not report."""
    for role, names in (
        ("selection", [] if roles.selection is None else [roles.selection]),
        ("learning_curve", [roles.learning_curve]),
        ("totals", roles.totals),
        ("sums", roles.sums),
        *(("schedules", names) for names in roles.schedules.values()),
    ):
        for name in names:
            if name not in reported:
                raise RunFault(f"`roles.{role}` names {name!r}, but training reports {', '.join(reported)}.")


def _take_over(
    progress: _Progress,
    metrics: Metrics,
    validation: Metrics,
    system: System[Any, Any],
    folder: RunFolder,
) -> None:
    """Ends the row, and saves the state that the score speaks of if it is among the best."""
    name, row = system.roles.selection, progress.row
    if name is not None and name in metrics:  # measured on the way, so it speaks of the state that the row began with
        progress.consider(metrics[name], progress.before, row.iteration - row.counted, system.keep, folder)
    progress.totals = {total: value + metrics.get(total, 0.0) * row.counted for total, value in progress.totals.items()}
    progress.row = _Row(row.state, row.iteration, {}, 0)
    progress.before = row.state
    if name is not None and not math.isnan(validation.get(name, math.nan)):
        progress.consider(validation[name], row.state, row.iteration, system.keep, folder)


def _diverged(system: System[Any, Any], progress: _Progress, validation: Metrics) -> str | None:
    name = system.roles.selection
    if name is None or validation.get(name) != -math.inf:
        return None
    return (
        f"warning: iteration {progress.iteration - 1}: adaptation to validation tasks diverged; the state does not "
        "count for `best`. A smaller inner learning rate adapts more gently."
    )


class _GainWatch:
    """Notices that adaptation does not help: a mean gain over `window` iterations that is all but zero."""

    def __init__(self, roles: Gain | None, window: int = 25) -> None:
        self._roles, self._gains = roles, deque[float](maxlen=window)

    def see(self, iteration: int, metrics: Metrics) -> str | None:
        if self._roles is None:
            return None
        self._gains.append(metrics[self._roles.gain])
        if len(self._gains) < (self._gains.maxlen or 0):
            return None
        window, mean = len(self._gains), sum(self._gains) / len(self._gains)
        variance = sum((gain - mean) ** 2 for gain in self._gains) / (window - 1)
        error = math.sqrt(variance / window)
        if mean >= 2 * error and mean >= 0.005 * abs(metrics[self._roles.level]):
            return None
        self._gains.clear()
        return (
            f"warning: iteration {iteration}: the result after adaptation is no better than before (gain {mean:.3g} "
            f"+- {2 * error:.2g} over {window} iterations). Train longer, or change how it adapts."
        )
