"""A trial's runs: ordinary training runs, one a seed, and the number that each is judged by."""

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.run.progress import read_progress
from maml_rl.run.sweep.configurations import configured
from maml_rl.run.train import train
from maml_rl.run.training_run import training_run

__all__ = ["measured", "train_run"]


def train_run(base: Path, changes: Mapping[str, Any], path: Path, say: Callable[[str], None]) -> None:
    """Trains a run to its end, from its last checkpoint where it has one.

    Args:
        base: the configuration that the trials change.
        changes: dotted names and values.
        path: the run's folder.
        say: how messages reach the user.

    Raises:
        RunFault: it broke, or its configuration is refused.
        KeyboardInterrupt: it can go on.
    """
    named = f"{path.parent.name}, {path.name}"
    earlier = None
    if (path / "checkpoints" / "last.pt").is_file():
        earlier = RunFolder.open(path)
    else:
        shutil.rmtree(path, ignore_errors=True)  # what was interrupted before it had begun
    try:
        system, config = configured(base, changes, "the configuration")
        last = earlier.load("last") if earlier is not None else {"iteration": 0}
        if last["iteration"] >= config.iterations and not last.get("counted"):
            return
        with training_run(system, config, path, earlier) as run:
            finished = train(run, lambda text: say(f"{named}: {text}"))
    except UsageError as error:
        if earlier is not None:  # a damaged checkpoint, say
            raise
        raise RunFault(str(error)) from error.__cause__
    if not finished:
        raise KeyboardInterrupt


def measured(path: Path, metric: str, window: int) -> float:
    """The mean of a column of a run over the last rows; of a validation over the last rows that have one.

    Raises:
        RunFault: it is not finite.
        UsageError: there is no such column.
    """
    progress = read_progress(path)
    rows = progress.rows if progress is not None else []
    columns = list(rows[0]) if rows else []
    if metric not in columns:
        has = ", ".join(columns) or "none"
        raise UsageError(f"`metric`: {path / 'progress.csv'} has no column {metric!r}; it has {has}.")
    values = [row[metric] for row in rows]
    if metric.startswith("validation_"):
        values = [value for value in values if not math.isnan(value)]
    mean = fmean(values[-window:]) if values else math.nan
    if not math.isfinite(mean):
        raise RunFault(f"{metric} is {mean} at the end of training.")
    return mean
