"""The training loop of every system: iterate, record, save; resume exactly; lose nothing when something breaks."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

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
        """Metrics of the state that `iteration` iterations made, always under the same names; nan where not due."""

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
    if progress.iteration >= iterations:
        say(f"the run already has {progress.iteration} iterations; ask for more by --iterations.")
        return True
    watch = _GainWatch()
    try:
        with (
            Records(folder.path, progress.iteration) as records,
            Interrupts() as interrupts,
            _bar(progress, iterations) as bar,
        ):
            while progress.iteration < iterations:
                block = min(
                    system.report_every - progress.iteration % system.report_every, iterations - progress.iteration
                )
                with interrupts.welcome():
                    state, metrics, validation = _iterate(system, progress, block, bar)
                _take_over(progress, state, metrics, validation, block, system, folder)
                if "env_steps" in metrics:
                    metrics["env_steps"] = progress.env_steps
                metrics = {**metrics, **validation}
                records.write(progress.iteration - 1, metrics)
                folder.save("last", progress.content())
                folder.keep([iteration for _, iteration in progress.kept])
                bar.set_postfix_str(system.summary(metrics))
                warning = watch.see(progress.iteration - 1, metrics)
                if warning:
                    say(warning)
            interrupts.check()
    except KeyboardInterrupt:
        say(f"interrupted after {progress.iteration} iterations; go on with --resume.")
        return False
    return True


class _Progress:
    """Where a run stands: state, iterations done, environment steps taken, and the best states so far.

    `kept` names the best states, best first, by score and iteration, where more than one is kept.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state, self.iteration, self.env_steps, self.best = state, 0, 0.0, -math.inf
        self.kept: list[tuple[float, int]] = []

    @classmethod
    def resumed(cls, folder: RunFolder, system: System) -> "_Progress":
        content = folder.load("last")
        progress = cls(fitted(content["state"], system.initial_state(), folder.path))
        progress.iteration, progress.env_steps = content["iteration"], content["env_steps"]
        progress.best, progress.kept = content["best"], [(score, at) for score, at in content.get("kept", [])]
        return progress

    def content(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "best": self.best,
            "kept": self.kept,
        }

    def consider(self, score: float, keep: int, folder: RunFolder) -> None:
        """Saves the state as `best`, and as one of the `keep` best, if its score is among theirs."""
        better = score > self.best
        self.best = max(score, self.best)
        if keep > 1:
            kept = sorted([*self.kept, (score, self.iteration)], key=lambda item: -item[0])[:keep]
            if (score, self.iteration) in kept:
                self.kept = kept
                folder.save(f"validated-{self.iteration}", self.content())
        if better:
            folder.save("best", self.content())


def _bar(progress: _Progress, iterations: int) -> "tqdm[Any]":
    return tqdm(total=iterations, initial=progress.iteration, unit="it", dynamic_ncols=True)


def _iterate(
    system: System, progress: _Progress, block: int, bar: "tqdm[Any]"
) -> tuple[dict[str, Any], dict[str, float], dict[str, float]]:
    """The state after `block` iterations, the mean of their metrics, and its validation's. Nothing counts before."""
    state, sums = progress.state, dict[str, float]()
    for iteration in range(progress.iteration, progress.iteration + block):
        try:
            state, metrics = system.iterate(state, iteration)
        except _FAULTS as error:
            raise RunFault(
                f"iteration {iteration}: {error} The checkpoint `last` holds the state before iteration "
                f"{progress.iteration}."
            ) from error
        sums = {name: sums.get(name, 0.0) + value for name, value in metrics.items()}
        bar.update()
    means = {name: value / block for name, value in sums.items()}
    try:
        return state, means, system.validate(state, progress.iteration + block)
    except _FAULTS as error:
        raise RunFault(
            f"validation after iteration {progress.iteration + block - 1}: {error} The checkpoint `last` holds the "
            f"state before iteration {progress.iteration}."
        ) from error


def _take_over(
    progress: _Progress,
    state: dict[str, Any],
    metrics: dict[str, float],
    validation: dict[str, float],
    block: int,
    system: System,
    folder: RunFolder,
) -> None:
    """Makes the next state the run's, and saves the state that the score speaks of if it is among the best."""
    name = system.selection_metric
    if name in metrics:
        progress.consider(metrics[name], system.keep, folder)
    progress.state, progress.iteration = state, progress.iteration + block
    progress.env_steps += metrics.get("env_steps", 0.0) * block
    if not math.isnan(validation.get(name, math.nan)):
        progress.consider(validation[name], system.keep, folder)


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
            f"+- {2 * error:.2g} over {window} iterations). Train longer, or try another inner rate."
        )
