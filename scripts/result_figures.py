"""Figures drawn from stored numbers: single tasks of one evaluation, several evaluations in one picture, or courses of
training.

A PNG carries digests of its numbers and of its pixels, so that a stale one is known without drawing it again.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from course_figures import Course, axis_of, courses_of, draw_courses
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin
from scipy.stats import t as student_t
from stored_numbers import StoredNumbers


class Curve(NamedTuple):
    """Values over gradient steps.

    Attributes:
        name: what the legend calls it.
        values: after 0 to K steps, [K + 1]; without steps it is a level to hold the others against.
        widths: half the widths of their 95% intervals, [K + 1].
    """

    name: str
    values: list[float]
    widths: list[float]


class Content(NamedTuple):
    """What a figure shows.

    Attributes:
        style: `tasks` for single tasks of one run, `error` for a logarithmic axis, `training` for the parts of one.
        curves: at least one.
        tasks: each task's values, [N][K + 1]; empty without the style `tasks`.
        levels: the optimum and random play, where the run has them.
        courses: what a figure of the style `course` shows, with the names of its panels behind that word.
    """

    style: list[str]
    curves: list[Curve]
    tasks: list[list[float]]
    levels: dict[str, float]
    courses: tuple[Course, ...] = ()

    @property
    def digest(self) -> str:
        """Of all its numbers to nine digits, so that machines which add in another order agree."""
        shown = self if self.courses else self[:-1]
        return hashlib.sha256(json.dumps(_rounded(shown)).encode()).hexdigest()


def content_of(store: StoredNumbers, style: Sequence[str], entries: Sequence[str]) -> Content:
    """What entries `name | experiment/run evaluation` show; for those of the style `course` see `courses_of`."""
    if style[:1] == ["course"]:
        return Content(list(style), [], [], {}, tuple(courses_of(store, style[1:], entries)))
    curves = [_curve(store, *map(str.strip, entry.split("|"))) for entry in entries]
    if "tasks" not in style:
        return Content(list(style), curves, [], {})
    source = entries[0].split("|")[1]
    path, evaluation = source.split()
    rows = [row for row in store.matching(path, "tasks") if row["evaluation"] == evaluation]
    tasks = [[float(value) for key, value in row.items() if key.startswith("value_")] for row in rows]
    ends = store.evaluations(source)[0]
    return Content(
        list(style), curves, tasks, {key: float(ends[key]) for key in ("optimal", "random") if ends.get(key)}
    )


def is_current(content: Content, path: Path) -> bool:
    """Whether the file shows this content, and is as it was drawn."""
    if not path.is_file():
        return False
    with Image.open(path) as image:
        return (image.info.get("Numbers"), image.info.get("Pixels")) == (content.digest, _pixels(image))


def draw(content: Content, path: Path) -> None:
    """Writes the figure."""
    buffer = io.BytesIO()
    _drawn(content).savefig(buffer, dpi=120)
    with Image.open(buffer) as image:
        digests = PngImagePlugin.PngInfo()
        digests.add_text("Numbers", content.digest)
        digests.add_text("Pixels", _pixels(image))
        image.save(path, pnginfo=digests, optimize=True)


def _drawn(content: Content) -> Figure:
    if content.courses:
        return draw_courses(content.courses, axis_of(content.style))
    return _of_tasks(content) if content.tasks else _of_curves(content)


def _curve(store: StoredNumbers, name: str, source: str) -> Curve:
    """Mean over runs; the interval is over tasks for one run, Student's over runs for several."""
    rows = store.evaluations(source)
    steps = [key for key in rows[0] if key.startswith("value_") and rows[0][key]]
    values = np.array([[float(row[step]) for step in steps] for row in rows])
    widths = [float(rows[0][step.replace("value", "interval")]) for step in steps]
    if len(rows) > 1:
        quantile = student_t.ppf(0.975, len(rows) - 1)
        widths = (quantile * values.std(0, ddof=1) / np.sqrt(len(rows))).tolist()
    return Curve(name, values.mean(0).tolist(), widths)


def _of_tasks(content: Content) -> Figure:
    """A thin line for each held-out task, mean and interval in front."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes, curve = figure.subplots(), content.curves[0]
    axes.plot(np.array(content.tasks).T, color="#1f77b4", alpha=0.15, linewidth=0.8)
    steps = np.arange(len(curve.values))
    axes.errorbar(steps, curve.values, curve.widths, color="#d62728", marker="o", capsize=4, linewidth=2)
    for (name, level), colour in zip(content.levels.items(), ("#2ca02c", "#7f7f7f"), strict=False):
        axes.axhline(level, color=colour, linestyle="--", label=name)
    if content.levels:
        axes.legend(fontsize=8)
    axes.set_title(f"{curve.name}: mean and 95% interval over {len(content.tasks)} tasks", fontsize=10)
    axes.set(xlabel="gradient steps", ylabel="return", xticks=steps)
    axes.grid(alpha=0.3)
    return figure


def _of_curves(content: Content) -> Figure:
    """Curves with intervals, a little apart so that none hides another."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes, dashes = figure.subplots(), cycle(("--", ":", "-."))
    error, training = ("error" in content.style, "training" in content.style)
    moving = [curve for curve in content.curves if len(curve.values) > 1]
    for curve in (curve for curve in content.curves if len(curve.values) == 1):
        axes.axhline(curve.values[0], linestyle=next(dashes), color="#555555", label=curve.name)
    for curve, shift in zip(moving, np.linspace(-0.06, 0.06, len(moving)), strict=True):
        steps = np.arange(len(curve.values)) + shift
        axes.errorbar(steps, curve.values, curve.widths, marker="o", markersize=4, capsize=3, label=curve.name)
    episodes = any(curve.name == "RL²" for curve in moving)
    steps_of = "parts of the training" if training else "gradient steps"
    axes.set_xlabel(f"{steps_of} or past episodes" if episodes else steps_of)
    axes.set_ylabel("mean squared error" if error else "log10 of loss over first loss" if training else "return")
    axes.set_yscale("log" if error else "linear")
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # of MaxNLocator
    axes.grid(alpha=0.3, which="both" if error else "major")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _pixels(image: Image.Image) -> str:
    return hashlib.sha256(image.convert("RGBA").tobytes()).hexdigest()


def _rounded(content: Any) -> Any:
    """Lists, dictionaries and numbers, these as text of nine digits."""
    if isinstance(content, float):
        return f"{content:.9g}"
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    return [_rounded(value) for value in content] if isinstance(content, (list, tuple)) else content
