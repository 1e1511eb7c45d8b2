#!/usr/bin/env python
"""How good held-out tasks become over gradient steps: python scripts/evaluate.py --run runs/navigation --steps 3."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from maml_rl.run import evaluate
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.finished_run import open_run
from maml_rl.run.held_out import Options, draw_fits, evaluation_of, with_defaults


def main(argv: Sequence[str]) -> int:
    """Evaluates a checkpoint, writes the files, prints the table."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    output = Path(options.output or options.run)
    with open_run(Path(options.run), options.checkpoint, options.device, options.data, options.ensemble or 1) as opened:
        chosen = with_defaults(options, opened)
        evaluate.require_folder(output)
        parts = len(opened.states) if opened.system.kind == "supervised" else chosen["steps"] + 1
        with tqdm(total=parts, desc="evaluating", leave=False) as bar:
            result, found = evaluation_of(opened, options, chosen, bar.update)
        paths = evaluate.write(result, output) + draw_fits(opened, options, found, output)
    print(evaluate.table(result))
    if options.ensemble and options.ensemble > 1:
        which = f"ensemble of the {options.ensemble} best states by validation"
    else:
        which = f"checkpoint {opened.checkpoint} (iteration {opened.iteration})"
        which += "" if opened.checkpoint == options.checkpoint else ", for lack of a best one"
    print(f"{which}; wrote {', '.join(map(str, paths))}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
