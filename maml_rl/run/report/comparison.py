"""A comparison of runs from folders to files: the page, two pictures, and what is said of them on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from maml_rl.run.compare import Adaptation, Learning, require_alike
from maml_rl.run.evaluate import require_folder
from maml_rl.run.report.differences import warnings_about
from maml_rl.run.report.gather import LeftOut, gather
from maml_rl.run.report.groups import adaptation_of, grouped
from maml_rl.run.report.page import page, write_page
from maml_rl.run.report.pictures import draw_adaptation, draw_learning

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """What came of a comparison.

    Attributes:
        paths: of the files.
        left_out: what could not be shown.
        warnings: what makes the comparison less than fair.
        lines: a table in words, where each curve ends and each evaluation after its first and last steps.
    """

    paths: list[Path]
    left_out: list[LeftOut]
    warnings: list[str]
    lines: list[str]


def compare(
    folders: Sequence[Path], output: Path, labels: Sequence[str] | None = None, title: str = "", log: bool = False
) -> Comparison:
    """Reads the folders, and writes `index.html`, `learning.png` and `adaptation.png` to `output`.

    Raises:
        UsageError: a folder is missing, nothing can be shown, or the runs measure different things.
        RunFault: a file cannot be written.
    """
    runs, left_out = gather(folders, labels)
    learning = [run.learning for run in runs if run.learning is not None]
    adaptation = [run.adaptation for run in runs if run.adaptation is not None]
    require_alike(learning, adaptation)
    require_folder(output)
    groups = grouped(runs)
    alone = {group.runs[0].name for group in groups if len(group.runs) == 1}
    drawn = [curve if curve.name in alone else curve._replace(widths=None) for curve in learning]
    warnings = warnings_about(groups)
    paths = [write_page(page(groups, left_out, warnings, title, log), output / "index.html")]
    paths += [draw_learning(drawn, output / "learning.png")] if learning else []
    means = [curve for group in groups if (curve := adaptation_of(group)) is not None]
    paths += [draw_adaptation(means, output / "adaptation.png", log)] if means else []
    return Comparison(paths, left_out, warnings, [*map(_learned, learning), *map(_adapted, adaptation)])


def _learned(curve: Learning) -> str:
    last = f"{curve.iterations[-1]:.0f} iterations, {curve.minutes[-1]:.1f} minutes"
    return f"{curve.name}: {curve.label} {curve.values[-1]:.4f} after {last}; best {curve.best:.4f}"


def _adapted(curve: Adaptation) -> str:
    steps = sorted({0, 1, 3, 5, 10, 20, len(curve.means) - 1} & set(range(len(curve.means))))
    means = ", ".join(f"{step}: {curve.means[step]:.4f} +- {curve.intervals[step]:.4f}" for step in steps)
    return f"{curve.name}: {curve.measure.name} after {curve.axis} {means}"
