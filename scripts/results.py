#!/usr/bin/env python
"""Writes the tables and figures of all pages from the stored numbers: python scripts/results.py [--check true].

`docs/results/pages` holds what the pages say, with a field wherever a number stands:

    {2d-navigation/seed-? best; 0 1 2 3; .2f}          values after 0 to 3 steps, mean over the runs that match
    {ant-vel/seed-1 best:gain; 1 2; .0f ±}             another measure, with half the width of its 95% interval
    {estimators/promp/seed-? last; 1 1-0; .2f sd}      a value and a difference, with the standard deviation over runs
    {curve rl2/bandit; return_after; last 10; .1f}     mean of a learning curve's last ten rows
    {curve omniglot-5way-1shot/seed-1; minutes; 500; .1f}    the row of iteration 500; `median` for that of all rows
    {benchmark; sinusoid.maml_rl; .0f}                 a number of benchmark.json

A format may go on with `min` (instead of the mean over runs), `M` (in millions) and `x100` (in percent).
"""

import csv
import fnmatch
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results"
TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 95%, two-sided, by the number of runs
Row = dict[str, str]


@dataclass(frozen=True)
class Options:
    """What to do.

    Attributes:
        check: only say which tables, sentences and figures are stale; the exit code is 1 if any is.
    """

    check: bool = False


class Line(NamedTuple):
    """A curve of a figure: its name, values after 0 to K steps [K + 1] and half the widths of their 95% intervals."""

    name: str
    values: list[float]
    widths: list[float]


def main(argv: Sequence[str]) -> int:
    """Writes what is stale, or says it; sentences are only held against the numbers, their words stay the author's."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    stale = stale_tables(write=not options.check) + stale_figures(write=not options.check)
    sentences = stale_sentences()
    for message in stale:
        print(f"{'stale' if options.check else 'written'}: {message}")
    for message in sentences:
        print(f"stale: {message}")
    return 1 if sentences or (options.check and stale) else 0


def pages() -> list[Path]:
    """README and the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def templates(name: str) -> dict[str, list[str]]:
    """The sections of a file in `docs/results/pages`: a title after `==`, then lines; `#` starts a remark."""
    sections: dict[str, list[str]] = {}
    for line in (RESULTS / "pages" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            lines = sections.setdefault(line[3:], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


def stale_tables(write: bool) -> list[str]:
    """Tables between `<!-- table: name -->` and `<!-- end -->` that are not what the numbers say."""
    tables = {name: "\n".join(filled(line, " | ") for line in lines) for name, lines in templates("tables.txt").items()}
    shown, stale = set(), []
    for page in pages():
        old = page.read_text(encoding="utf-8")
        for _, name, _ in TABLE.findall(old):
            if name not in tables:
                raise UsageError(f"{page.name} shows the table {name}, docs/results/pages/tables.txt has none.")
            shown.add(name)
        new = TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", old)
        changed = zip(TABLE.finditer(old), TABLE.finditer(new), strict=True)
        stale += [f"{page.relative_to(ROOT)}: table {a[2]}" for a, b in changed if a[0] != b[0]]
        if write and new != old:
            page.write_text(new, encoding="utf-8")
    return stale + [f"no page shows the table {name}" for name in tables if name not in shown]


def stale_sentences() -> list[str]:
    """Sentences that a page should say and does not, whatever its line breaks."""
    stale = []
    for page, lines in templates("sentences.txt").items():
        text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        expected = [filled(line, " / ") for line in lines]
        stale += [f"{page} does not say: {sentence}" for sentence in expected if sentence not in text]
    return stale


def filled(template: str, joiner: str) -> str:
    """The text with a number, or several with a joiner between, in the place of each field."""
    return re.sub(r"\{([^{}]+)\}", lambda match: joiner.join(numbers(match[1])), template)


def numbers(field: str) -> list[str]:
    """What a field stands for (see the head of this file).

    Raises:
        UsageError: it names no stored number.
    """
    source, *rest = (part.strip() for part in field.split(";"))
    try:
        columns, style = rest[0].split(), rest[-1].split()
        if source == "benchmark":
            return [shown([benchmark(name)], style) for name in columns]
        if source.startswith("curve "):
            return curve_numbers(source.removeprefix("curve "), columns[0], rest[1].split(), style)
        rows = evaluations(source)
        return [value_of(rows, column, style) for column in columns]
    except (LookupError, ValueError) as error:
        raise UsageError(f"the field {{{field}}} names no stored number ({type(error).__name__}: {error}).") from error


@cache
def stored(experiment: str, name: str) -> list[Row]:
    """The rows of a table in an experiment's folder."""
    with (RESULTS / experiment / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def matching(path: str, name: str) -> list[Row]:
    """Rows of an experiment's table whose run matches: `experiment/run`, with `?` and `*` in the run."""
    experiment, _, run = path.partition("/")
    rows = [row for row in stored(experiment, name) if fnmatch.fnmatchcase(row["run"], run)]
    if not rows:
        raise LookupError(f"no run {run} in {experiment}/{name}.csv")
    return rows


def evaluations(source: str) -> list[Row]:
    """Rows of `results.csv`: `experiment/run evaluation`, and after a colon the measure where it is not the first."""
    path, evaluation = source.split()
    evaluation, _, measure = evaluation.partition(":")
    rows = [row for row in matching(path, "results") if row["evaluation"] == evaluation]
    if not rows:
        raise LookupError(f"no evaluation {evaluation} of {path}")
    measure = measure or rows[0].get("measure", "")
    return [row for row in rows if row.get("measure", "") == measure]


def value_of(rows: Sequence[Row], column: str, style: Sequence[str]) -> str:
    """A column of the rows as text: `2` is the value after two steps, `1-0` a difference, anything else a name."""
    if not column[0].isdigit():
        return shown([float(row[column]) for row in rows], style)
    step, _, base = column.partition("-")
    values = [float(row[f"value_{step}"]) - (float(row[f"value_{base}"]) if base else 0.0) for row in rows]
    width = float(rows[0][f"interval_{step}"]) if "±" in style and len(rows) == 1 else None
    return shown(values, style, width)


def shown(values: Sequence[float], style: Sequence[str], width: float | None = None) -> str:
    """Mean, or smallest, of the values in a style such as `.2f ±`."""
    if "±" in style and width is None:
        raise ValueError("± goes with the values of one run")
    scale = 1e-6 if "M" in style else 100.0 if "x100" in style else 1.0
    parts = [min(values) if "min" in style else float(np.mean(values))]
    parts += [width] if width is not None else [float(np.std(values, ddof=1))] if "sd" in style else []
    return " ± ".join(format(scale * part, style[0]) for part in parts) + (" M" if "M" in style else "")


def curve_numbers(path: str, column: str, where: Sequence[str], style: Sequence[str]) -> list[str]:
    """Of learning curves: the mean of each run's last rows, the median of all rows, or the rows of some iterations."""
    rows = matching(path, "curves")
    if where[0] == "median":
        return [shown([float(np.median([float(row[column]) for row in rows]))], style)]
    if where[0] == "last":
        runs = dict.fromkeys(row["run"] for row in rows)
        ends = [[float(row[column]) for row in rows if row["run"] == run][-int(where[1]) :] for run in runs]
        return [shown([float(np.mean(end)) for end in ends], style)]
    by_iteration = {row["iteration"]: row for row in rows}
    return [shown([float(by_iteration[iteration][column])], style) for iteration in where]


@cache
def benchmark_sections() -> dict[str, Any]:
    """What `scripts/benchmark.py` measured."""
    return json.loads((RESULTS / "benchmark.json").read_text(encoding="utf-8"))


def benchmark(name: str) -> float:
    """`section.number`, or `160000/section.number` for how long so many of them take."""
    count, _, rate = name.rpartition("/")
    section, _, key = rate.partition(".")
    number = float(benchmark_sections()[section][key])
    return float(count) / number if count else number


def stale_figures(write: bool) -> list[str]:
    """Figures whose numbers, which a PNG carries as a digest, are not the stored ones."""
    stale = []
    for title, entries in templates("figures.txt").items():
        name, *style = title.split()
        curves = [line_of(entry) for entry in entries]
        tasks = tasks_of(entries[0]) if "tasks" in style else []
        levels = levels_of(entries[0]) if "tasks" in style else {}
        digest = hashlib.sha256(json.dumps([title, curves, tasks, levels]).encode()).hexdigest()
        if _digest_in(RESULTS / name) == digest:
            continue
        stale.append(f"docs/results/{name}")
        if write:
            figure = task_figure(curves[0], tasks, levels) if tasks else comparison_figure(curves, "error" in style)
            figure.savefig(RESULTS / name, dpi=120, metadata={"Numbers": digest, "Software": None})
    return stale


def _digest_in(path: Path) -> str | None:
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get("Numbers")


def line_of(entry: str) -> Line:
    """`name | experiment/run evaluation` as a curve; over several runs the interval is Student's over them."""
    name, source = (part.strip() for part in entry.split("|"))
    rows = evaluations(source)
    steps = [key for key in rows[0] if key.startswith("value_") and rows[0][key]]
    values = np.array([[float(row[step]) for step in steps] for row in rows])
    widths = [float(rows[0][step.replace("value", "interval")]) for step in steps]
    if len(rows) > 1:
        widths = (STUDENT_T[len(rows)] * values.std(0, ddof=1) / np.sqrt(len(rows))).tolist()
    return Line(name, values.mean(0).tolist(), widths)


def tasks_of(entry: str) -> list[list[float]]:
    """Each task's values after 0 to K steps, [N][K + 1], of the run that an entry names."""
    path, evaluation = entry.split("|")[1].split()
    rows = [row for row in matching(path, "tasks") if row["evaluation"] == evaluation]
    return [[float(value) for key, value in row.items() if key.startswith("value_")] for row in rows]


def levels_of(entry: str) -> dict[str, float]:
    """The optimum and random play, where a run's table has them."""
    row = evaluations(entry.split("|")[1])[0]
    return {name: float(row[name]) for name in ("optimal", "random") if row.get(name)}


def task_figure(curve: Line, tasks: list[list[float]], levels: dict[str, float]) -> Figure:
    """A thin line for each held-out task, mean and interval in front."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.array(tasks).T, color="#1f77b4", alpha=0.15, linewidth=0.8)
    steps = np.arange(len(curve.values))
    axes.errorbar(steps, curve.values, curve.widths, color="#d62728", marker="o", capsize=4, linewidth=2)
    for (name, level), colour in zip(levels.items(), ("#2ca02c", "#7f7f7f"), strict=False):
        axes.axhline(level, color=colour, linestyle="--", label=name)
    if levels:
        axes.legend(fontsize=8)
    axes.set_title(f"{curve.name}: mean and 95% interval over {len(tasks)} tasks", fontsize=10)
    axes.set(xlabel="gradient steps", ylabel="return", xticks=steps)
    axes.grid(alpha=0.3)
    return figure


def comparison_figure(curves: Sequence[Line], error: bool) -> Figure:
    """Curves with intervals, a little apart so that none hides another; one without steps is a level."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes, dashes = figure.subplots(), cycle(("--", ":", "-."))
    moving = [curve for curve in curves if len(curve.values) > 1]
    for curve in (curve for curve in curves if len(curve.values) == 1):
        axes.axhline(curve.values[0], linestyle=next(dashes), color="#555555", label=curve.name)
    for curve, shift in zip(moving, np.linspace(-0.06, 0.06, len(moving)), strict=True):
        steps = np.arange(len(curve.values)) + shift
        axes.errorbar(steps, curve.values, curve.widths, marker="o", markersize=4, capsize=3, label=curve.name)
    axes.set(xlabel="gradient steps", ylabel="mean squared error" if error else "return")
    if any(curve.name == "RL²" for curve in curves):
        axes.set_xlabel("gradient steps or past episodes")
    axes.set_yscale("log" if error else "linear")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, which="both" if error else "major")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
