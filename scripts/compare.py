#!/usr/bin/env python
"""Sets runs side by side on one page: python scripts/compare.py --runs runs/a runs/b --output runs/comparison."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import UsageError


@dataclass(frozen=True)
class Options:
    """What to compare.

    Attributes:
        runs: folders of runs or of evaluations. `progress.csv` gives a learning curve, `evaluation.json`, in the folder
            or in its `best` or `last`, the curve over steps of adaptation; a folder may have both.
        output: the folder for `index.html`, `learning.png` and `adaptation.png`.
        labels: what the runs are called, in their order; runs of one label are a group. Where nothing is given they
            have their folders' names, and runs that differ in their seed only are a group.
        log: whether the curves over steps of adaptation have a logarithmic axis.
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
    """Writes the page and the pictures, prints what was left out, what is unlike, and where each curve ends."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    try:
        from maml_rl.run.report.comparison import compare
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("jinja2", "plotly", "scipy"):
            raise
        raise UsageError("a comparison needs the extra 'report': pip install 'maml_rl[report]'.") from None
    output = Path(options.output)
    if (output / "config.yaml").exists():
        raise UsageError(f"{output} is the folder of a run, whose pictures would be replaced: choose another --output.")
    comparison = compare([Path(run) for run in options.runs], output, options.labels, options.title, options.log)
    for entry in comparison.left_out:
        print(f"note: left out{' wholly' if entry.wholly else ''}: {entry.name}: {entry.reason}", file=sys.stderr)
    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print("\n".join(comparison.lines))
    print(f"wrote {', '.join(map(str, comparison.paths))}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
