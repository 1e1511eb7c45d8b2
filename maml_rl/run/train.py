"""The training loop of every system: iterate, record, save; resume exactly; lose nothing when something breaks."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from maml_rl.run.checkpoint import fitted
from maml_rl.run.errors import RunFault
from maml_rl.run.folder import RunFolder
from maml_rl.run.interrupts import Interrupts
from maml_rl.run.records import Records

__all__ = ["System", "train"]

_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


class System(Protocol):
    """What the loop needs of a system. Its state is a dictionary that `torch.save` keeps exactly.

    Attributes:
        selection_metric: which metric tells the best state, the higher the better.
        keep: how many of the best states are kept.
        report_every: iterations that share a row of metrics and a checkpoint.
    """

    selection_metric: str
    keep: int
    report_every: int

    def initial_state(self) -> dict[str, Any]:
        """The state before the first iteration."""

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """The next state, and metrics of the one that came in."""

    def validate(self, state: dict[str, Any], iteration: int) -> dict[str, float]:
        """Metrics of the state that `iteration` iterations made, always under the same names; nan where not due.

        The selection metric is -inf where it is due and not finite.
        """

    def summary(self, metrics: dict[str, float]) -> str:
        """A few words for the progress bar."""

    def close(self) -> None:
        """Frees what the system holds."""


def train(
    system: System,
    folder: RunFolder,
    iterations: int,
    resume: bool = False,
    say: Callable[[str], None] = tqdm.write,
) -> bool:
    """Runs meta-iterations up to `iterations`, with a checkpoint `last` after each report, and the `best` one.

    `best` is the state with the highest `selection_metric`: where `iterate` reports it, it is that of the state before
    its update, whose own trajectories it speaks of; where `validate` does, that of the state after.

    Args:
        system: what to train.
        folder: where to write.
        iterations: the last iteration's number plus one.
        resume: goes on from the folder's `last`.
        say: how messages reach the user.

    Returns:
        Whether training came to its end; False after an interrupt.

    Raises:
        RunFault: something broke; the message names the iteration. The last good state is saved.
    """
    progress = _Progress.resumed(folder, system) if resume else _Progress(system.initial_state())
    if not resume:
        folder.save("last", progress.content())
    if progress.iteration >= iterations and not progress.row.counted:
        asked = "no iterations are asked for: the run holds the initial state."
        done = f"the run already has {progress.iteration} iterations; ask for more by --iterations."
        say(done if progress.iteration else asked)
        return True
    watch = _GainWatch()
    with (
        Interrupts() as interrupts,
        Records(folder.path, progress.iteration) as records,
        tqdm(total=iterations, initial=progress.iteration, unit="it", dynamic_ncols=True, leave=None) as bar,
    ):
        try:
            while progress.iteration < iterations or progress.row.counted:
                with interrupts.welcome():
                    metrics, validation = _finish_row(system, progress, iterations, bar)
                _take_over(progress, metrics, validation, system, folder)
                if "env_steps" in metrics:
                    metrics["env_steps"] = progress.env_steps
                metrics = {**metrics, **validation}
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
    return True


class _Row(NamedTuple):
    """A row of metrics in the making: the state, what its iterations summed up to, and how many they are.

    It is replaced as a whole after each iteration, so an interrupt finds it either before or after one.
    """

    state: dict[str, Any]
    iteration: int
    sums: dict[str, float]
    counted: int


class _Progress:
    """Where a run stands: state, iterations done, environment steps taken, and the best states so far.

    `before` is the state that the row in the making began with; `kept` names the best states, best first, by score and
    iteration, where more than one is kept.
    """

    def __init__(self, state: dict[str, Any], iteration: int = 0) -> None:
        self.row = _Row(state, iteration, {}, 0)
        self.before = state
        self.env_steps, self.best = 0.0, -math.inf
        self.kept: list[tuple[float, int]] = []

    @property
    def state(self) -> dict[str, Any]:
        """After the iterations done so far."""
        return self.row.state

    @property
    def iteration(self) -> int:
        """How many are done."""
        return self.row.iteration

    @classmethod
    def resumed(cls, folder: RunFolder, system: System) -> "_Progress":
        content, fresh = folder.load("last"), system.initial_state()
        progress = cls(fitted(content["state"], fresh, folder.path), content["iteration"])
        progress.env_steps, progress.best = content["env_steps"], content["best"]
        progress.kept = [(score, at) for score, at in content.get("kept", [])]
        progress.row = progress.row._replace(sums=content.get("sums", {}), counted=content.get("counted", 0))
        if progress.row.counted:
            progress.before = fitted(content["before"], fresh, folder.path)
        return progress

    def content(self) -> dict[str, Any]:
        """What a checkpoint of the present state holds."""
        return {
            **self._content(self.row.state, self.row.iteration),
            "sums": self.row.sums,
            "counted": self.row.counted,
            "before": self.before if self.row.counted else None,
        }

    def consider(self, score: float, state: dict[str, Any], iteration: int, keep: int, folder: RunFolder) -> None:
        """Saves a state as `best`, and as one of the `keep` best, if its score is among theirs."""
        better = score > self.best
        self.best = max(score, self.best)
        if keep > 1 and score > -math.inf:
            kept = sorted([*self.kept, (score, iteration)], key=lambda item: -item[0])[:keep]
            if (score, iteration) in kept:
                self.kept = kept
                folder.save(f"validated-{iteration}", self._content(state, iteration))
        if better:
            folder.save("best", self._content(state, iteration))

    def _content(self, state: dict[str, Any], iteration: int) -> dict[str, Any]:
        return {
            "state": state,
            "iteration": iteration,
            "env_steps": self.env_steps,
            "best": self.best,
            "kept": self.kept,
        }


def _finish_row(
    system: System, progress: _Progress, iterations: int, bar: "tqdm[Any]"
) -> tuple[dict[str, float], dict[str, float]]:
    """Iterates to the end of the row: the mean of its metrics, and the validation of the state it ends with."""
    start = progress.iteration - progress.row.counted
    end = min((start // system.report_every + 1) * system.report_every, iterations)
    while progress.iteration < end or not progress.row.counted:
        row = progress.row
        try:
            state, metrics = system.iterate(row.state, row.iteration)
        except _FAULTS as error:
            raise RunFault(
                f"iteration {row.iteration}: {error} The checkpoint `last` holds the state before this iteration."
            ) from error
        sums = {name: row.sums.get(name, 0.0) + value for name, value in metrics.items()}
        progress.row = _Row(state, row.iteration + 1, sums, row.counted + 1)
        bar.update()
    means = {name: value / progress.row.counted for name, value in progress.row.sums.items()}
    try:
        return means, system.validate(progress.state, progress.iteration)
    except _FAULTS as error:
        raise RunFault(
            f"validation after iteration {progress.iteration - 1}: {error} The checkpoint `last` holds that state."
        ) from error


def _take_over(
    progress: _Progress,
    metrics: dict[str, float],
    validation: dict[str, float],
    system: System,
    folder: RunFolder,
) -> None:
    """Ends the row, and saves the state that the score speaks of if it is among the best."""
    name, row = system.selection_metric, progress.row
    if name in metrics:  # measured on the way, so it speaks of the state that the row began with
        progress.consider(metrics[name], progress.before, row.iteration - row.counted, system.keep, folder)
    progress.env_steps += metrics.get("env_steps", 0.0) * row.counted
    progress.row = _Row(row.state, row.iteration, {}, 0)
    progress.before = row.state
    if not math.isnan(validation.get(name, math.nan)):
        progress.consider(validation[name], row.state, row.iteration, system.keep, folder)


def _diverged(system: System, progress: _Progress, validation: dict[str, float]) -> str | None:
    if validation.get(system.selection_metric) != -math.inf:
        return None
    return (
        f"warning: iteration {progress.iteration - 1}: adaptation to validation tasks diverged; the state does not "
        "count for `best`. A smaller inner rate adapts more gently."
    )


class _GainWatch:
    """Notices that adaptation does not help: a mean gain over `window` iterations that is all but zero."""

    def __init__(self, window: int = 25) -> None:
        self._gains: deque[float] = deque(maxlen=window)

    def see(self, iteration: int, metrics: dict[str, float]) -> str | None:
        if "return_step_1" not in metrics:  # no inner step, nothing to gain
            return None
        self._gains.append(metrics["adaptation_gain"])
        if len(self._gains) < (self._gains.maxlen or 0):
            return None
        window, mean = len(self._gains), sum(self._gains) / len(self._gains)
        variance = sum((gain - mean) ** 2 for gain in self._gains) / (window - 1)
        error = math.sqrt(variance / window)
        if mean >= 2 * error and mean >= 0.005 * abs(metrics["return_before"]):
            return None
        self._gains.clear()
        return (
            f"warning: iteration {iteration}: the return after adaptation is no better than before (gain {mean:.3g} "
            f"+- {2 * error:.2g} over {window} iterations). Train longer, or change how it adapts."
        )
