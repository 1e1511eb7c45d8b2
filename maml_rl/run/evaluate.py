"""How good held-out tasks become over steps of adaptation: means with intervals, a table, files and a figure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.figure import save_figure
from maml_rl.systems.evaluation import Evaluation

__all__ = ["interval", "require_folder", "table", "tasks_digest", "write"]

Array = NDArray[np.float64]


def interval(per_task: Array) -> tuple[Array, Array]:
    """Mean over tasks and half the width of its 95% interval, 1.96 s / sqrt(N), for [..., N]; nan for one task."""
    count = per_task.shape[-1]
    if count < 2:
        return per_task.mean(-1), np.full(per_task.shape[:-1], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # of a task that diverged; the table names it
        return per_task.mean(-1), 1.96 * per_task.std(-1, ddof=1) / np.sqrt(count)


def table(evaluation: Evaluation) -> str:
    """One line a step of adaptation: the measure, and its change from none, with 95% intervals over tasks."""
    per_task, measure = evaluation.per_task, evaluation.measure
    means, errors = interval(per_task)
    with np.errstate(invalid="ignore"):
        changes, change_errors = interval(per_task - per_task[0])
    more = {name: interval(values) for name, values in evaluation.also.items()}
    heads = "".join(f"  {name:>20}" for name in more)
    unit = evaluation.axis.split()[-1]
    change = "gain over" if measure.higher_is_better else "change from"
    lines = [f"{evaluation.axis:>14}  {measure.name:>20}  {f'{change} 0 {unit}':>20}{heads}"]
    for step, (mean, error) in enumerate(zip(means, errors, strict=True)):
        line = f"{step:14d}  {_plus_minus(mean, error, measure.digits):>20}"
        shown = "" if step == 0 else _plus_minus(changes[step], change_errors[step], measure.digits)
        others = "".join(f"  {_plus_minus(mean[step], error[step], 3):>20}" for mean, error in more.values())
        lines.append(f"{line}  {shown:>20}{others}".rstrip())
    for name, value in evaluation.references.items():
        lines.append(f"{name:>14}  {value:20.{measure.digits}f}")
    protocol = f", {evaluation.protocol}" if evaluation.protocol else ""
    lines.append(f"mean and 95% interval over {per_task.shape[1]} held-out tasks{protocol}")
    return "\n".join([*lines, *_divergence(evaluation)])


def _divergence(evaluation: Evaluation) -> list[str]:
    """A warning that names tasks with values that are not finite; nothing where there are none."""
    broken = (~np.isfinite(evaluation.values)).reshape(*evaluation.values.shape[:2], -1).sum(-1) > 0
    tasks = broken.any(0).nonzero()[0]
    if not len(tasks):
        return []
    first = f"{int(broken.any(1).argmax())} {evaluation.axis}"
    named = ", ".join(map(str, tasks[:5])) + (", ..." if len(tasks) > 5 else "")
    remedy = "; smaller --learning_rates adapt more gently" if evaluation.settings.get("learning_rates") else ""
    some = "" if np.isnan(evaluation.per_task).any() else " in some of the repetitions, which are left out"
    return [f"warning: {len(tasks)} of the tasks diverged{some}, the first after {first} (task {named}){remedy}."]


def require_folder(folder: Path) -> None:
    """Makes the folder, before any work is done for it.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"output folder {folder} cannot be made: {error.strerror}.") from error


def write(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Writes `evaluation.json`, `evaluation.npz`, `adaptation.png` and the evaluation's own figures.

    Returns:
        The paths of all of them.

    Raises:
        RunFault: the folder cannot be written.
    """
    numbers, arrays = folder / "evaluation.json", folder / "evaluation.npz"
    also = {f"also_{name}": values for name, values in evaluation.also.items()}
    try:
        numbers.write_text(json.dumps(_summary(evaluation), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        np.savez(arrays, values=evaluation.values, **also, **_task_arrays(evaluation.tasks))  # type: ignore[arg-type]
    except OSError as error:
        raise RunFault(f"the evaluation could not be written to {folder}: {error.strerror or error}") from error
    adaptation = save_figure(lambda figure: _draw(evaluation, figure), (6, 4), folder / "adaptation.png")
    own = [save_figure(figure.draw, figure.size, folder / name) for name, figure in evaluation.figures.items()]
    return [numbers, arrays, adaptation, *own]


def tasks_digest(tasks: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the tasks' canonical JSON, in hexadecimal: the same for the same tasks in the same order."""
    text = json.dumps(_as_json(tasks), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    """What `evaluation.json` holds."""
    measure = evaluation.measure
    content = {
        "measure": measure.name,
        "higher_is_better": measure.higher_is_better,
        "label": measure.title,
        "digits": measure.digits,
        "axis": evaluation.axis,
        **_mean_and_interval(evaluation.per_task),
        "also": {name: _mean_and_interval(values) for name, values in evaluation.also.items()},
        "references": evaluation.references,
        "numbers": evaluation.numbers,
        "tasks": {"count": len(evaluation.tasks), "digest": tasks_digest(evaluation.tasks)},
        "protocol": evaluation.protocol,
        "settings": evaluation.settings,
    }
    return _as_json(content)


def _mean_and_interval(per_task: Array) -> dict[str, Array]:
    means, errors = interval(per_task)
    return {"mean": means, "interval95": errors}


def _task_arrays(tasks: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """An array for each task parameter that is a number, or a list of one length, in every task."""
    arrays = {}
    for name in tasks[0]:
        try:
            values = [np.asarray(task.get(name)) for task in tasks]
        except ValueError:  # lists of different lengths
            continue
        if len({value.shape for value in values}) == 1 and all(value.dtype.kind in "biuf" for value in values):
            arrays[f"task_{name}"] = np.stack(values)
    return arrays


def _as_json(value: Any) -> Any:
    """Plain values: null for numbers that are not finite, Python's own words for what JSON has none for."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _as_json(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_json(entry) for entry in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else repr(value)


def _plus_minus(mean: float, error: float, digits: int) -> str:
    shown = [f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}" for value in (mean, error)]
    return shown[0] if np.isnan(error) and not np.isnan(mean) else " +- ".join(shown)


def _draw(evaluation: Evaluation, figure: Any) -> None:
    """A thin line for each task; mean, interval and references in front."""
    per_task, measure = evaluation.per_task, evaluation.measure
    steps = np.arange(len(per_task))
    means, errors = interval(per_task)
    axes = figure.subplots()
    axes.plot(steps, per_task, color="#1f77b4", alpha=0.15, linewidth=0.8)
    axes.errorbar(steps, means, np.nan_to_num(errors), color="#d62728", marker="o", capsize=4, linewidth=2)
    for index, (name, value) in enumerate(evaluation.references.items()):
        axes.axhline(value, color="#2ca02c" if index == 0 else "#7f7f7f", linestyle="--", label=name)
    if evaluation.references:
        axes.legend(fontsize=8)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if not measure.higher_is_better and np.nanmax(means) > 1e3 * np.nanmin(means) > 0:
        axes.set_yscale("log")  # adaptation diverged
    axes.set_xlabel(evaluation.axis)
    axes.set_ylabel(measure.title)
    title = f"mean and 95% interval over {per_task.shape[1]} tasks"
    tasks_name = evaluation.settings.get("tasks_name")
    axes.set_title(f"{tasks_name}: {title}" if tasks_name else title, fontsize=10)
    axes.grid(alpha=0.3)
