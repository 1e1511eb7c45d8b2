#!/usr/bin/env python
"""Draws runs side by side: python scripts/compare.py --runs runs/a runs/b --output runs/comparison."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.compare import (
    Adaptation,
    Learning,
    draw_adaptation,
    draw_learning,
    read_adaptation,
    read_learning,
)
from maml_rl.run.errors import UsageError
from maml_rl.run.evaluate import require_folder


@dataclass(frozen=True)
class Options:
    """What to compare.

    Attributes:
        runs: folders of runs or of evaluations. `progress.csv` gives a learning curve, `evaluation.json` the curve over
            gradient steps; a folder may have both.
        output: the folder for `learning.png` and `adaptation.png`.
        labels: what the runs are called, in their order; their folders' names where nothing is given.
        log: whether the curves over gradient steps have a logarithmic axis.
    """

    runs: list[str]
    output: str
    labels: list[str] | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("`runs` must name at least one folder.")
        if self.labels is not None and len(self.labels) != len(self.runs):
            raise ValueError(f"`labels` must be as many as `runs`, got {len(self.labels)} for {len(self.runs)}.")


def main(argv: Sequence[str]) -> int:
    """Reads the folders, draws, prints a table."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    labels, output = options.labels or names(options.runs), Path(options.output)
    learning, adaptation = [], []
    for folder, label in zip(map(Path, options.runs), labels, strict=True):
        curve, steps = read_learning(folder, label), read_adaptation(folder, label)
        if curve is None and steps is None:
            raise UsageError(f"{folder} has neither a learning curve in progress.csv nor an evaluation.json.")
        if curve is None and (folder / "progress.csv").is_file():
            print(f"note: {label} has no point of its learning curve yet and is left out.", file=sys.stderr)
        learning += [] if curve is None else [curve]
        adaptation += [] if steps is None else [steps]
    require_alike(learning, adaptation)
    require_folder(output)
    paths = [draw_learning(learning, output / "learning.png")] if learning else []
    if adaptation:
        paths.append(draw_adaptation(adaptation, output / "adaptation.png", options.log))
    if any(curve.tasks != adaptation[0].tasks for curve in adaptation):
        print("warning: the evaluations are of different tasks.", file=sys.stderr)
    print("\n".join(lines(learning, adaptation)))
    print(f"wrote {', '.join(map(str, paths))}")
    return 0


def names(runs: Sequence[str]) -> list[str]:
    """The ends of the folders' paths, as long as it takes to tell them apart."""
    parts = [Path(run).resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-length:]) for part in parts]
        if len(set(found)) == len(set(parts)):
            break
    return found


def require_alike(learning: Sequence[Learning], adaptation: Sequence[Adaptation]) -> None:
    """Raises `UsageError` if the curves of a picture do not measure the same."""
    for curves in (learning, adaptation):
        measures = {curve.measure: curve.name for curve in curves}
        if len(measures) > 1:
            told = ", ".join(f"{measure} in {name}" for measure, name in measures.items())
            raise UsageError(f"these runs cannot be compared, they measure different things: {told}.")


def lines(learning: Sequence[Learning], adaptation: Sequence[Adaptation]) -> list[str]:
    """The table: where each curve ends, and each evaluation after its first and last steps."""
    found = []
    for curve in learning:
        best = (curve.values.min if curve.measure.endswith("error") else curve.values.max)()
        last = f"{curve.iterations[-1]:.0f} iterations, {curve.minutes[-1]:.1f} minutes"
        found.append(f"{curve.name}: {curve.measure} {curve.values[-1]:.4f} after {last}; best {best:.4f}")
    for steps in adaptation:
        shown = sorted({0, 1, 3, 5, 10, 20, len(steps.means) - 1} & set(range(len(steps.means))))
        told = ", ".join(f"{step}: {steps.means[step]:.4f} +- {steps.intervals[step]:.4f}" for step in shown)
        found.append(f"{steps.name}: {steps.measure} after gradient steps {told}")
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
