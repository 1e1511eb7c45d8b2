"""How good held-out tasks become over gradient steps or episodes: numbers, their intervals, files and the figure."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.figure import save_figure

__all__ = ["Evaluation", "interval", "require_folder", "table", "write"]


class Evaluation(NamedTuple):
    """What was measured after each number of gradient steps, or of what else a learner adapts by.

    Attributes:
        measure: "return", "accuracy" or "error".
        per_task: its mean over each task's episodes or examples, [K + 1, N].
        tasks: N of them.
        settings: how it was done; goes into the file.
        arrays: what else goes into the file of arrays.
        sizes: what a task's number is a mean of, in words.
        also: other measures by name, each [K + 1, N].
        references: numbers to hold the means against, such as the optimum, by name.
        axis: what the numbers 0 to K count.
    """

    measure: str
    per_task: NDArray[np.float64]
    tasks: list[dict[str, Any]]
    settings: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    sizes: str
    also: dict[str, NDArray[np.float64]] = {}  # noqa: RUF012  # never changed
    references: dict[str, float] = {}  # noqa: RUF012
    axis: str = "gradient steps"


def interval(per_task: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over tasks and half the width of its 95% interval, 1.96 s / sqrt(N), for [..., N]; nan for one task."""
    count = per_task.shape[-1]
    if count < 2:
        return per_task.mean(-1), np.full(per_task.shape[:-1], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # of a task that diverged; the table names it
        return per_task.mean(-1), 1.96 * per_task.std(-1, ddof=1) / np.sqrt(count)


def table(evaluation: Evaluation) -> str:
    """One line a gradient step: the measure, and its gain over none, with 95% intervals over tasks."""
    per_task = evaluation.per_task
    means, errors = interval(per_task)
    with np.errstate(invalid="ignore"):
        gains, gain_errors = interval(per_task - per_task[0])
    digits = 2 if evaluation.measure == "return" else 4
    more = {name: interval(values) for name, values in evaluation.also.items()}
    heads = "".join(f"  {name:>20}" for name in more)
    unit = evaluation.axis.split()[-1]
    change = "change from" if evaluation.measure == "error" else "gain over"
    lines = [f"{evaluation.axis:>14}  {evaluation.measure:>20}  {f'{change} 0 {unit}':>20}{heads}"]
    for step, (mean, error) in enumerate(zip(means, errors, strict=True)):
        line = f"{step:14d}  {_plus_minus(mean, error, digits):>20}"
        gain = "" if step == 0 else _plus_minus(gains[step], gain_errors[step], digits)
        others = "".join(f"  {_plus_minus(mean[step], error[step], 3):>20}" for mean, error in more.values())
        lines.append(f"{line}  {gain:>20}{others}".rstrip())
    for name, value in evaluation.references.items():
        lines.append(f"{name:>14}  {value:20.{digits}f}")
    lines.append(f"mean and 95% interval over {per_task.shape[1]} held-out tasks, {evaluation.sizes}")
    diverged = (~np.isfinite(per_task)).any(0).nonzero()[0]
    if len(diverged):
        first = int((~np.isfinite(per_task)).any(1).argmax())
        named = ", ".join(map(str, diverged[:5])) + (", ..." if len(diverged) > 5 else "")
        lines.append(
            f"warning: {len(diverged)} of the tasks diverged, the first after {first} gradient steps (task {named}); "
            "smaller rates (--rates) adapt more gently."
        )
    return "\n".join(lines)


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
    """Writes `evaluation.json`, `evaluation.npz` and `adaptation.png`; returns their paths.

    Raises:
        RunFault: the folder cannot be written.
    """
    paths = [folder / name for name in ("evaluation.json", "evaluation.npz", "adaptation.png")]
    means, errors = interval(evaluation.per_task)
    summary = {
        **evaluation.settings,
        f"{evaluation.measure}_mean": _finite_or_none(means),
        f"{evaluation.measure}_interval95": _finite_or_none(errors),
        **{f"{name}_mean": _finite_or_none(interval(values)[0]) for name, values in evaluation.also.items()},
        **{f"{name}_interval95": _finite_or_none(interval(values)[1]) for name, values in evaluation.also.items()},
        **({"references": evaluation.references} if evaluation.references else {}),
        "tasks": evaluation.tasks,
    }
    arrays = _task_arrays(evaluation.tasks)
    try:
        paths[0].write_text(json.dumps(summary, indent=2, default=_plain) + "\n", encoding="utf-8")
        np.savez(paths[1], **{**evaluation.arrays, **arrays})  # type: ignore[arg-type]
    except OSError as error:
        raise RunFault(f"the evaluation could not be written to {folder}: {error.strerror or error}") from error
    save_figure(lambda figure: _draw(evaluation, figure), (6, 4), paths[2])
    return paths


def _task_arrays(tasks: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """An array for each task parameter that is a number, or a list of one length, in every task."""
    arrays = {}
    for name in tasks[0]:
        try:
            values = [np.asarray(task.get(name)) for task in tasks]
        except ValueError:  # lists of different lengths; the JSON file has them
            continue
        if len({value.shape for value in values}) == 1 and all(value.dtype.kind in "biuf" for value in values):
            arrays[f"task_{name}"] = np.stack(values)
    return arrays


def _finite_or_none(values: NDArray[np.float64]) -> list[float | None]:
    """JSON has no other numbers."""
    return [float(value) if np.isfinite(value) else None for value in values]


def _plain(value: Any) -> Any:
    """What JSON has no word for: numpy's numbers as numbers, anything else as Python shows it."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else repr(value)


def _plus_minus(mean: float, error: float, digits: int) -> str:
    shown = [f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}" for value in (mean, error)]
    return shown[0] if np.isnan(error) and not np.isnan(mean) else " +- ".join(shown)


def _draw(evaluation: Evaluation, figure: Any) -> None:
    per_task = evaluation.per_task
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
    if evaluation.measure == "error" and np.nanmax(means) > 1e3 * np.nanmin(means) > 0:
        axes.set_yscale("log")  # adaptation diverged
    axes.set_xlabel(evaluation.axis)
    axes.set_ylabel("mean squared error" if evaluation.measure == "error" else evaluation.measure)
    about = evaluation.settings.get("environment") or evaluation.settings.get("distribution", "")
    axes.set_title(f"{about}: mean and 95% interval over {per_task.shape[1]} tasks", fontsize=10)
    axes.grid(alpha=0.3)
