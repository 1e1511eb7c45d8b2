#!/usr/bin/env python
"""Searches hyper-parameters: python scripts/sweep.py --config configs/sweeps/2d-navigation.yaml --output runs/sweep.

Trials are judged on the tasks that training draws, never on held-out ones. `--resume` goes on with the sweep in the
folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.parser import early_options
from maml_rl.run.sweep.options import Options
from maml_rl.run.sweep.search import sweep
from maml_rl.run.sweep.table import table
from maml_rl.run.training_run import config_of_resumed


def main(argv: Sequence[str]) -> int:
    """Runs a sweep or goes on with one, prints its best trials."""
    words = ["--resume=true" if word == "--resume" else word for word in argv]
    # A sweep's own file stands first, so that only what this command line says can differ from it.
    own = config_of_resumed(argv, "sweep.yaml")
    folders = early_options(argv, "output")[0]["output"]
    if "--resume" in argv and folders and not own:
        raise UsageError(f"{folders[-1]} is not the folder of a sweep: it has no sweep.yaml.")
    options: Options = settings_of(Options, [*own, *words], __doc__ or "")
    finished, trials = sweep(options)
    output, states = Path(options.output), [trial.state for trial in trials]
    if not finished:
        return 130
    if "complete" not in states:
        raise RunFault(f"no trial came to its end; {output / 'sweep.csv'} says why. The first: {trials[0].reason}")
    print("\n".join(table(options, trials)))
    counts = [
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "unfinished") if state in states
    ]
    print(f"{len(trials)} trials: {', '.join(counts)}")
    print(f"wrote {', '.join(str(output / name) for name in ('sweep.csv', 'best.yaml', 'sweep.png'))}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
