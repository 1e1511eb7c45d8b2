"""What the folders of runs hold: curves, evaluations, configurations, seconds, films; and what had to be left out."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from maml_rl.run.compare import Adaptation, Learning, learning_of, read_adaptation, seconds_by_part
from maml_rl.run.errors import UsageError
from maml_rl.run.progress import CurveColumns, Progress, read_columns, read_progress
from maml_rl.run.report.media import pictures_in
from maml_rl.run.schedules import Panel, panels_of

__all__ = ["LeftOut", "Run", "Runs", "flattened", "gather", "names_of", "read_per_task"]

T = TypeVar("T")
_PLACES = ("", "best", "last")


class LeftOut(NamedTuple):
    """Something that could not be shown.

    Attributes:
        name: which run it is of.
        reason: why, in words.
        wholly: whether nothing of the run is shown.
    """

    name: str
    reason: str
    wholly: bool


class Run(NamedTuple):
    """What a folder holds.

    Attributes:
        name: what it is called, unlike any other.
        label: what it was called by hand; None where it was not.
        folder: where it is.
        config: its configuration, flattened; empty for a folder of an evaluation only.
        tasks: the key of the configuration that names the task distribution, without its ".id"; empty where none does.
        tasks_name: what `metrics.json` calls the task distribution; None where it does not say.
        rows: those of `progress.csv`.
        learning: its curve; None where there is no point of one.
        panels: courses of what it learns or anneals over training; empty where it declares none.
        parts: mean seconds of a meta-iteration by what they were spent on.
        adaptation: its evaluation on held-out tasks; None where there is none.
        place: the subfolder of the evaluation, "best" or "last"; empty where it is in the folder itself.
        per_task: the evaluation's mean over each task's repetitions, [K + 1, N]; None without its arrays.
        versions: of the libraries; empty where they are not known.
        pictures: films and pictures.
    """

    name: str
    label: str | None
    folder: Path
    config: dict[str, Any]
    tasks: str
    tasks_name: str | None
    rows: list[dict[str, float]]
    learning: Learning | None
    panels: list[Panel]
    parts: dict[str, float]
    adaptation: Adaptation | None
    place: str
    per_task: NDArray[np.float64] | None
    versions: dict[str, Any]
    pictures: list[Path]

    @property
    def task(self) -> str | None:
        """Name of the task distribution."""
        if self.tasks_name is not None:
            return self.tasks_name
        settings = self.adaptation.settings if self.adaptation else {}
        name = self.config.get(f"{self.tasks}.id", settings.get("tasks_name"))
        return None if name is None else str(name)

    @property
    def system(self) -> str | None:
        """Name of the system; None where it is not known."""
        return self.config.get("system")

    @property
    def seed(self) -> Any:
        """That of its training; None where it is not known."""
        return self.config.get("seed")


class Runs(NamedTuple):
    """The runs that can be shown, and what cannot."""

    runs: list[Run]
    left_out: list[LeftOut]


def gather(folders: Sequence[Path], labels: Sequence[str] | None = None) -> Runs:
    """Reads the folders; damaged or half-written files are left out, and told.

    Raises:
        UsageError: a folder is missing, or nothing is left to show.
    """
    for folder in folders:
        if not folder.exists():
            raise UsageError(f"there is no folder {folder}.")
    names = _run_names(folders, labels)
    runs, left_out, seen = list[Run](), list[LeftOut](), set[Path]()
    for index, (folder, name) in enumerate(zip(folders, names, strict=True)):
        if folder.resolve() in seen:
            left_out.append(LeftOut(name, f"{folder} is named twice; it is shown once.", False))
            continue
        seen.add(folder.resolve())
        if not folder.is_dir():
            left_out.append(LeftOut(name, f"{folder} is a file, not the folder of a run.", True))
            continue
        run, faults = read_run(folder, name, labels[index] if labels else None)
        runs += [] if run is None else [run]
        left_out += [LeftOut(name, fault, run is None) for fault in faults]
    if not runs:
        reasons = " ".join(f"{fault.name}: {fault.reason}" for fault in left_out)
        raise UsageError(f"there is nothing to compare. {reasons}")
    return Runs(runs, left_out)


def names_of(folders: Sequence[Path]) -> list[str]:
    """The ends of the folders' paths, as long as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def _run_names(folders: Sequence[Path], labels: Sequence[str] | None) -> list[str]:
    """The label where no other run has it, otherwise with the folder's name behind it; that name without labels."""
    names = names_of(folders)
    if labels is None:
        return names
    return [
        label if labels.count(label) == 1 else f"{label} ({name})" for label, name in zip(labels, names, strict=True)
    ]


def read_run(folder: Path, name: str, label: str | None = None) -> tuple[Run | None, list[str]]:
    """What the folder holds, None if nothing that can be shown; and what is wrong with it."""
    faults: list[str] = []
    progress = _attempt(lambda: read_progress(folder), faults)
    config = _attempt(lambda: _configuration(folder), faults) if _is_training(folder) else {}
    if config is None:
        return None, faults
    columns = None if progress is None else _attempt(lambda: read_columns(folder), faults)
    learning = _attempt(lambda: _learning(folder, name, progress, columns), faults)
    adaptation, place = _evaluation(folder, name, faults)
    if learning is None and adaptation is None:
        return None, faults or [f"{folder} has neither a learning curve in progress.csv nor an evaluation.json."]
    if progress is not None and progress.half_written:
        faults.append(f"the last row of {folder / 'progress.csv'} is half-written; the rows before it are shown.")
    per_task = None if adaptation is None else _attempt(lambda: read_per_task(folder / place, adaptation), faults)
    versions = _attempt(lambda: _versions(folder), faults) or {}
    rows = [] if progress is None else progress.rows
    panels = None if columns is None else _attempt(lambda: panels_of(rows, columns, name), faults)
    run = Run(
        name,
        label,
        folder,
        flattened(config),
        _tasks_key(config),
        None if columns is None else columns.tasks_name,
        rows,
        learning,
        panels or [],
        seconds_by_part(rows),
        adaptation,
        place,
        per_task,
        versions,
        pictures_in(folder),
    )
    return run, faults


def flattened(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested names and values with dots between the names; a list is one value."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        result |= flattened(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return result


def read_per_task(folder: Path, adaptation: Adaptation) -> NDArray[np.float64] | None:
    """The evaluation's mean over each task's repetitions, [K + 1, N]; None without an `evaluation.npz`.

    Raises:
        UsageError: the file is damaged, or of another evaluation than the one beside it.
    """
    path = folder / "evaluation.npz"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            values = np.asarray(arrays["values"], float)
    except (OSError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    alike = values.shape[:2] == (len(adaptation.means), adaptation.task_count)
    if alike:
        per_task = values.reshape(*values.shape[:2], -1).mean(-1)
        means = np.where(np.isfinite(per_task).all(1), per_task.mean(1), np.nan)
        alike = np.allclose(means, adaptation.means, rtol=1e-4, equal_nan=True)
    if not alike:
        raise UsageError(f"{path} does not belong to the evaluation.json beside it.")
    return per_task


def _attempt(read: Callable[[], T], faults: list[str]) -> T | None:
    """What `read` returns; None, and its fault noted, if it cannot be read."""
    try:
        return read()
    except UsageError as error:
        faults.append(" ".join(str(error).split()))
        return None


def _is_training(folder: Path) -> bool:
    """Whether it is, or was to become, the folder of a training run rather than of an evaluation only."""
    return any((folder / name).exists() for name in ("config.yaml", "progress.csv", "checkpoints", "versions.json"))


def _configuration(folder: Path) -> dict[str, Any]:
    """What `config.yaml` says, which has every field of the configuration, whatever the system."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise UsageError(f"{folder} is not a run folder: it has no config.yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not a configuration: it has no names and values.")
    return content


def _tasks_key(config: dict[str, Any]) -> str:
    """The first section of the configuration that has an id and arguments: the task distribution's."""
    sections = (name for name, value in config.items() if isinstance(value, dict) and {"id", "arguments"} <= set(value))
    return next(sections, "")


def _learning(folder: Path, name: str, progress: Progress | None, columns: CurveColumns | None) -> Learning | None:
    if progress is None or columns is None:
        return None
    learning = learning_of(progress.rows, columns, name)
    if learning is None:
        raise UsageError(f"{folder / 'progress.csv'} has no point of a learning curve yet.")
    return learning


def _evaluation(folder: Path, name: str, faults: list[str]) -> tuple[Adaptation | None, str]:
    """The first evaluation that can be read, and the subfolder it is in."""
    for place in _PLACES:
        adaptation = _attempt(lambda: read_adaptation(folder / place, name), faults)  # noqa: B023  # called at once
        if adaptation is not None:
            return adaptation, place
    return None, ""


def _versions(folder: Path) -> dict[str, Any]:
    path = folder / "versions.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    return content if isinstance(content, dict) else {}
