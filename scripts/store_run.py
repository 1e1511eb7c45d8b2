#!/usr/bin/env python
"""Adds a run to docs/results: python scripts/store_run.py --run runs/seed-4 --experiment 2d-navigation --name seed-4.

It takes the run's configuration, its learning curve thinned to 100 rows, and its evaluations: `evaluation.json` in the
folder itself, which is named after its checkpoint, and in subfolders, which give it their names. What was stored of a
run with this name before is replaced. Tables and figures then follow from `docs/results/pages` by `scripts/results.py`.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.compare import read_adaptation
from maml_rl.run.errors import UsageError
from maml_rl.run.evaluate import interval
from maml_rl.run.folder import RunFolder
from maml_rl.run.progress import CurveColumns, read_columns, read_progress

ROOT = Path(__file__).resolve().parents[1]
FIRST = ("run", "seed", "commit", "configuration", "evaluation", "measure", "iteration", "tasks", "episodes", "support")
CURVE = ("return_before", "return_after", "cg_residual")
Row = dict[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """What to store, and where.

    Attributes:
        run: the run's folder.
        experiment: the folder in `docs/results`.
        name: what the run is called there.
        commit: of the code that made the run; by default the one that is checked out.
        root: the folder with `docs`.
        rows: at most so many of the learning curve; more where something comes back at short intervals.
    """

    run: str
    experiment: str
    name: str
    commit: str | None = None
    root: str = str(ROOT)
    rows: int = 100


def main(argv: Sequence[str]) -> int:
    """Writes `results.csv`, `curves.csv` and `configurations.yaml` of the experiment."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    folder, experiment = Path(options.run), Path(options.root) / "docs/results" / options.experiment
    config = RunFolder.open(folder).config
    progress = progress_of(folder)
    commit = options.commit or checked_out_commit()
    head = {"run": options.name, "seed": config.seed, "commit": commit[:10], "configuration": options.name}
    training = training_columns(progress)
    evaluations = evaluation_rows(folder) or [{"evaluation": "training"}]
    experiment.mkdir(parents=True, exist_ok=True)
    store_configuration(experiment / "configurations.yaml", options.name, folder / "config.yaml")
    replace_rows(experiment / "results.csv", options.name, [{**head, **row, **training} for row in evaluations])
    replace_rows(
        experiment / "curves.csv", options.name, curve_rows(options.name, progress, read_columns(folder), options.rows)
    )
    print(f"stored {len(evaluations)} evaluations of {options.name} in {experiment}")
    return 0


def checked_out_commit() -> str:
    """The commit of the working tree.

    Raises:
        UsageError: this is not a git repository.
    """
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UsageError("the commit is not known, this is not a git repository: name it with --commit.")
    return answer.stdout.strip()


def progress_of(folder: Path) -> dict[str, Array]:
    """The columns of `progress.csv`, each [P], with an iteration's `seconds` and the `minutes` until then.

    Validation is not counted in either.

    Raises:
        UsageError: there is none, or it has no row.
    """
    progress = read_progress(folder)
    if progress is None or not progress.rows:
        raise UsageError(f"{folder / 'progress.csv'} is missing or has no row: nothing was trained there.")
    columns = {name: np.array([row[name] for row in progress.rows]) for name in progress.rows[0]}
    parts = [name for name in ("sampling_s", "adaptation_s", "meta_update_s") if name in columns]
    columns["seconds"] = columns.get("iteration_s", np.nansum([columns[name] for name in parts], axis=0))
    counts = np.diff(columns["iteration"] + 1, prepend=0)
    return {**columns, "minutes": (columns["seconds"] * counts).cumsum() / 60}


def training_columns(progress: dict[str, Array]) -> Row:
    """Length of a training and medians over its meta-iterations."""
    columns: Row = {"iterations": int(progress["iteration"][-1]) + 1}
    if "env_steps" in progress:
        columns["env_steps"] = int(progress["env_steps"][-1])
    numbers = {"minutes": progress["minutes"][-1], "iteration_s": np.median(progress["seconds"])}
    if "meta_update_s" in progress:
        numbers["meta_update_s"] = np.median(progress["meta_update_s"])
    if "line_search_steps" in progress:
        numbers["line_search_steps"] = progress["line_search_steps"].mean()
    if "policy_std" in progress:
        numbers["policy_std"] = progress["policy_std"][-1]
    return columns | {name: f"{number:.7g}" for name, number in numbers.items()}


def curve_rows(name: str, progress: dict[str, Array], columns: CurveColumns, most: int) -> list[Row]:
    """At most so many rows: means over as many iterations, or of a run that validates the validations themselves.

    What the run sums up from its beginning, and its interval, is what the last iteration had; schedules are there with
    their intervals.
    """
    learning_curve = columns.learning_curve
    totals = [total for total in (*columns.totals, *columns.sums) if total != "env_steps"]
    scheduled = [column for panel in columns.schedules.values() for column in panel]
    summed = [*totals, *(f"{total}_interval95" for total in totals)] if columns.schedules else []
    widths = [f"{column}_interval95" for column in scheduled]
    known = (~np.isnan(progress[learning_curve])).nonzero()[0]
    validates = learning_curve.startswith("validation_")
    every = max(1, int(np.ceil(len(known) / most)))
    rows = []
    for end in range(len(known), 0, -every)[::-1]:
        block = known[max(0, end - every) : end]
        row: Row = {"run": name, "iteration": int(progress["iteration"][block[-1]]) + 1}
        if "env_steps" in progress:
            row["env_steps"] = int(progress["env_steps"][block[-1]])
        row["minutes"] = f"{progress['minutes'][block[-1]]:.5g}"
        if validates:
            row[learning_curve] = repr(float(progress[learning_curve][block[-1]]))
        row |= {total: f"{progress[total][block[-1]]:.9g}" for total in summed if total in progress}
        means = dict.fromkeys((*CURVE, *([] if validates else [learning_curve]), *scheduled, *widths))
        row |= {column: f"{progress[column][block].mean():.6g}" for column in means if column in progress}
        rows.append(row)
    return rows


def evaluation_rows(folder: Path) -> list[Row]:
    """A row for each evaluation and measure, and its paired gain where a task's values are means of several returns."""
    rows = []
    for path in sorted(folder.rglob("evaluation.json")):
        evaluation = read_adaptation(path.parent, folder.name)
        assert evaluation is not None
        settings, measure = evaluation.settings, evaluation.measure.name
        own = path.parent == folder
        head = {"evaluation": settings["checkpoint"] if own else path.parent.relative_to(folder).as_posix()}
        head |= {"iteration": settings["iteration"], "tasks": evaluation.task_count}
        head |= {key: settings[key] for key in ("episodes", "support") if key in settings}
        head |= {"formula": settings["programs"][0]["formula"]} if settings.get("programs") else {}
        rates = settings.get("learning_rates", "")
        rates = rates if isinstance(rates, str) else " ".join(map(str, rates[:1] if len(set(rates)) == 1 else rates))
        head |= {"task_seed": settings["seed"], "rates": rates, **evaluation.references}
        rows.append({**head, "measure": measure, **_numbered(evaluation.means, evaluation.intervals)})
        rows += [{**head, "measure": name, **_numbered(*also)} for name, also in evaluation.also.items()]
        numbers: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8")).get("numbers", {})
        rows += [{**head, "measure": name, **_values(entries)} for name, entries in numbers.items()]
        values = np.load(path.with_suffix(".npz"))["values"]
        if values.ndim > 2 and evaluation.measure.higher_is_better:
            per_task = values.reshape(*values.shape[:2], -1).mean(-1)
            rows.append({**head, "measure": "gain", **_numbered(*interval(per_task - per_task[0]))})
    return rows


def _numbered(means: Array, widths: Array) -> Row:
    return _values(means) | _values(widths, "interval")


def _values(numbers: Sequence[float] | Array, name: str = "value") -> Row:
    return {f"{name}_{place}": f"{number:.12g}" for place, number in enumerate(numbers)}


def read_rows(path: Path) -> list[Row]:
    """The rows of a table; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def replace_rows(path: Path, run: str, rows: Sequence[Row]) -> None:
    """Writes the table with these rows in the place of what the run had; columns are those that any row has."""
    table = [row for row in read_rows(path) if row["run"] != run] + list(rows)
    columns = dict.fromkeys(name for row in table for name in row)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, sorted(columns, key=_place), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def _place(column: str) -> tuple[int, int]:
    """Names first, then what was done, values, intervals and at the end the source."""
    name, _, step = column.rpartition("_")
    if name in ("value", "interval") and step.isdigit():
        return (2 if name == "value" else 3, int(step))
    if column == "source":
        return (4, 0)
    return (0, FIRST.index(column)) if column in FIRST else (1, 0)


def store_configuration(path: Path, name: str, config: Path) -> None:
    """Adds the configuration under the run's name, as it stands in the run's folder.

    Raises:
        UsageError: another one has this name.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    added = config.read_text(encoding="utf-8").rstrip("\n")
    stored = (yaml.safe_load(text) or {}).get(name)
    if stored is not None and stored != yaml.safe_load(added):
        raise UsageError(f"{path} has another configuration {name}: remove it first, or choose another --name.")
    if stored is None:
        indented = "".join(f"  {line}\n" if line else "\n" for line in added.split("\n"))
        path.write_text(f"{text}{name}:\n{indented}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_code(main))
