#!/usr/bin/env python
"""How good held-out tasks become over steps of adaptation: python scripts/evaluate.py --run runs/navigation --steps 3.

What can be said besides depends on the run's system: --run FOLDER --help lists it.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from maml_rl.run import evaluate
from maml_rl.run.cli import exit_code, refused_in_one_line, settings_of_each
from maml_rl.run.errors import UsageError
from maml_rl.run.finished_run import FinishedRun, open_run
from maml_rl.run.folder import RunFolder
from maml_rl.run.parser import early_options
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions


@dataclass(frozen=True)
class RunChoice:
    """Which run.

    Attributes:
        run: the run folder.
        checkpoint: "best" by training return or by validation, or the "last".
        device: where to adapt; the run's own where nothing is given.
        data: where the data are now, if not where they were in training.
        output: where the files go; the run folder where nothing is given.
    """

    run: str
    checkpoint: Literal["best", "last"] = "best"
    device: str | None = None
    data: str | None = None
    output: str | None = None


def main(argv: Sequence[str]) -> int:
    """Evaluates a checkpoint, writes the files, prints the table."""
    given, rest = early_options(argv, "run")
    if not given["run"] and not {"--help", "-h"} & set(rest):
        raise UsageError("say which run to evaluate: --run runs/NAME.")
    own = RunFolder.open(Path(given["run"][-1])).system.options if given["run"] else EvaluationOptions
    options, wanted = settings_of_each([RunChoice, own], argv, __doc__ or "")
    output = Path(options.output or options.run)
    places = {"device": options.device, "data": options.data}
    with open_run(Path(options.run), options.checkpoint, places, wanted.states) as opened:
        with refused_in_one_line():
            resolved = opened.system.resolve(wanted)
        evaluate.require_folder(output)
        result = _evaluated(opened, options, resolved)
        paths = evaluate.write(result, output)
    print(evaluate.table(result))
    if wanted.states > 1:
        which = f"ensemble of the {wanted.states} best states by validation"
    else:
        which = f"checkpoint {opened.checkpoint} (iteration {opened.iteration})"
        lacking = opened.checkpoint != options.checkpoint and opened.system.roles.selection is not None
        which += ", for lack of a best one" if lacking else ""
    print(f"{which}; wrote {', '.join(map(str, paths))}")
    return 0


def _evaluated(opened: FinishedRun, options: RunChoice, resolved: EvaluationOptions) -> Evaluation:
    """The evaluation, with how it was done."""
    began = time.perf_counter()
    with tqdm(desc="evaluating", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = opened.system.evaluate(opened.states, resolved, progress)
    alone = resolved.states == 1
    settings: dict[str, Any] = {
        "tasks_name": opened.system.tasks_name,
        **{field.name: getattr(resolved, field.name) for field in fields(resolved)},
        **result.settings,
        "device": options.device,
        "checkpoint": opened.checkpoint if alone else "validated",
        "iteration": opened.iteration if alone else None,
        "seconds": round(time.perf_counter() - began, 3),
    }
    return replace(result, settings=settings)


if __name__ == "__main__":
    sys.exit(exit_code(main))
