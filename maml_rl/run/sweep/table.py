"""The results of a sweep in writing: the table of all trials, the best configuration, the lines to print."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maml_rl.run.config import dump_config
from maml_rl.run.files import write_text
from maml_rl.run.sweep.configurations import configured
from maml_rl.run.sweep.options import Options
from maml_rl.run.sweep.space import written
from maml_rl.run.sweep.trial_results import Trial, ranked

__all__ = ["shown", "table", "write_best", "write_table"]


def table(options: Options, trials: Sequence[Trial], count: int = 5) -> list[str]:
    """The best trials, best first, a line each under a line of names."""
    names = sorted(options.space)
    rows = [["trial", *names, f"mean {options.metric}", *(f"seed {seed}" for seed in options.seeds)]]
    for trial in ranked(options, trials)[:count]:
        numbers = [trial.value, *(trial.seeds[seed] for seed in options.seeds)]
        rows.append([str(trial.number), *(shown(trial.point[name]) for name in names), *map(shown, numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def shown(value: Any) -> str:
    """For the eye: a number to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else written(value)


def write_table(options: Options, trials: Sequence[Trial], path: Path) -> None:
    """All trials as CSV, in their order.

    Raises:
        OSError: it could not be written.
    """
    text, names = io.StringIO(), sorted(options.space)
    writer = csv.writer(text)
    writer.writerow(["trial", *names, "value", *(f"seed_{seed}" for seed in options.seeds), "state", "reason"])
    for trial in trials:
        seeds = [trial.seeds.get(seed, math.nan) for seed in options.seeds]
        point = [written(trial.point[name]) for name in names]
        writer.writerow([trial.number, *point, trial.value, *seeds, trial.state, trial.reason])
    write_text(path, text.getvalue())


def write_best(options: Options, trial: Trial, base: Path, path: Path) -> None:
    """The configuration of the best trial, which the training script reads.

    Raises:
        OSError: it could not be written.
    """
    system, config = configured(base, {**trial.point, "seed": options.seeds[0]}, "the best trial")
    remark = f"# Trial {trial.number} of a sweep: mean {options.metric} {trial.value} over seeds {options.seeds}.\n"
    text = remark + dump_config(system.name, config)
    write_text(path, text)
