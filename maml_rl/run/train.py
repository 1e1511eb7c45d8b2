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


class System(Protocol):
    """What the loop needs of a system. Its state is a dictionary that `torch.save` keeps exactly."""

    selection_metric: str

    def initial_state(self) -> dict[str, Any]:
        """The state before the first iteration."""

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """The next state, and metrics of the one that came in."""

    def close(self) -> None:
        """Frees what the system holds."""


def train(
    system: System,
    folder: RunFolder,
    iterations: int,
    resume: bool = False,
    say: Callable[[str], None] = tqdm.write,
) -> bool:
    """Runs meta-iterations up to `iterations`, with a checkpoint `last` after each and `best` by training return.

    `best` holds the state whose own trajectories had the highest `selection_metric`: the one before its update.

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
                with interrupts.welcome():
                    state, metrics = _iterate(system, progress)
                metrics = _take_over(progress, state, metrics, system.selection_metric, folder)
                records.write(progress.iteration - 1, metrics)
                folder.save("last", progress.content())
                bar.set_postfix_str(_summary(metrics))
                bar.update()
                warning = watch.see(progress.iteration - 1, metrics)
                if warning:
                    say(warning)
            interrupts.check()
    except KeyboardInterrupt:
        say(f"interrupted after {progress.iteration} iterations; go on with --resume.")
        return False
    return True


class _Progress:
    """Where a run stands: state, iterations done, environment steps taken, best training return so far."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state, self.iteration, self.env_steps, self.best = state, 0, 0.0, -math.inf

    @classmethod
    def resumed(cls, folder: RunFolder, system: System) -> "_Progress":
        content = folder.load("last")
        progress = cls(fitted(content["state"], system.initial_state(), folder.path))
        progress.iteration, progress.env_steps = content["iteration"], content["env_steps"]
        progress.best = content["best"]
        return progress

    def content(self) -> dict[str, Any]:
        return {"state": self.state, "iteration": self.iteration, "env_steps": self.env_steps, "best": self.best}


def _bar(progress: _Progress, iterations: int) -> "tqdm[Any]":
    return tqdm(total=iterations, initial=progress.iteration, unit="it", dynamic_ncols=True)


def _iterate(system: System, progress: _Progress) -> tuple[dict[str, Any], dict[str, float]]:
    try:
        return system.iterate(progress.state, progress.iteration)
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise RunFault(
            f"iteration {progress.iteration}: {error} The checkpoint `last` holds the state before this iteration."
        ) from error


def _take_over(
    progress: _Progress, state: dict[str, Any], metrics: dict[str, float], selection: str, folder: RunFolder
) -> dict[str, float]:
    """Makes the next state the run's; saves the one before as `best` if its return was."""
    value = metrics[selection]
    if value > progress.best:
        folder.save("best", {**progress.content(), "best": value})
        progress.best = value
    metrics = {**metrics, "env_steps": progress.env_steps + metrics["env_steps"]}
    progress.state, progress.iteration, progress.env_steps = state, progress.iteration + 1, metrics["env_steps"]
    return metrics


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


def _summary(metrics: dict[str, float]) -> str:
    if "return_before" not in metrics:
        return ""
    rejected = " rejected" if metrics["line_search_rejected"] else ""
    return (
        f"return {metrics['return_before']:.1f} -> {metrics['return_after']:.1f}, "
        f"{metrics['steps_per_s'] / 1000:.1f}k steps/s{rejected}"
    )
