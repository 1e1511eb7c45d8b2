#!/usr/bin/env python
"""Sets runs side by side on one page: python scripts/compare.py --runs runs/a runs/b --output runs/comparison."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.compare import Adaptation, Learning, draw_adaptation, draw_learning, require_alike
from maml_rl.run.errors import UsageError
from maml_rl.run.evaluate import require_folder
from maml_rl.run.report.gather import gather
from maml_rl.run.report.groups import adaptation_of, grouped, warnings_about
from maml_rl.run.report.page import page, write_page


@dataclass(frozen=True)
class Options:
    """What to compare.

    Attributes:
        runs: folders of runs or of evaluations. `progress.csv` gives a learning curve, `evaluation.json`, in the folder
            or in its `best` or `last`, the curve over gradient steps; a folder may have both.
        output: the folder for `index.html`, `learning.png` and `adaptation.png`.
        labels: what the runs are called, in their order; runs of one label are a group. Where nothing is given they
            have their folders' names, and runs that differ in their seed only are a group.
        log: whether the curves over gradient steps have a logarithmic axis.
        title: of the page.
    """

    runs: list[str]
    output: str
    labels: list[str] | None = None
    log: bool = False
    title: str = "Runs side by side"

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("`runs` must name at least one folder.")
        if self.labels is not None and len(self.labels) != len(self.runs):
            raise ValueError(f"`labels` must be as many as `runs`, got {len(self.labels)} for {len(self.runs)}.")


def main(argv: Sequence[str]) -> int:
    """Reads the folders, draws, writes the page, prints a table."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    output = Path(options.output)
    if (output / "config.yaml").exists():
        raise UsageError(f"{output} is the folder of a run, whose pictures would be replaced: choose another --output.")
    runs, left_out = gather([Path(run) for run in options.runs], options.labels)
    learning = [run.learning for run in runs if run.learning is not None]
    adaptation = [run.adaptation for run in runs if run.adaptation is not None]
    require_alike(learning, adaptation)
    require_folder(output)
    groups = grouped(runs)
    warnings = warnings_about(groups)
    paths = [write_page(page(groups, left_out, warnings, options.title, options.log), output / "index.html")]
    paths += [draw_learning(learning, output / "learning.png")] if learning else []
    means = [curve for group in groups if (curve := adaptation_of(group)) is not None]
    paths += [draw_adaptation(means, output / "adaptation.png", options.log)] if means else []
    for entry in left_out:
        print(f"note: left out{' wholly' if entry.wholly else ''}: {entry.name}: {entry.reason}", file=sys.stderr)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print("\n".join(lines(learning, adaptation)))
    print(f"wrote {', '.join(map(str, paths))}")
    return 0


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
        found.append(f"{steps.name}: {steps.measure} after {steps.axis} {told}")
    return found


if __name__ == "__main__":
    sys.exit(exit_code(main))
