"""Figures of what runs measured over training, from stored curves: a panel for each quantity, bands around means."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from stored_numbers import StoredNumbers

from maml_rl.run.schedules import shades


class Course(NamedTuple):
    """A quantity of one run over training.

    Attributes:
        panel: which it stands in.
        name: what the legend calls it.
        steps: what the axis counts, such as environment steps, [R].
        values: means over the run's lifetimes, [R].
        widths: half the widths of their 95% intervals, [R]; empty where the run has none.
    """

    panel: str
    name: str
    steps: list[float]
    values: list[float]
    widths: list[float]


AXES = {"env_steps": "steps of each lifetime", "children": "update rules that were tried out"}
"""What courses go over, by the column that counts it: words of a figure's style that are no panel."""


def axis_of(style: Sequence[str]) -> str:
    """The column that counts what courses go over: environment steps, unless the style names another one."""
    return next((word for word in style if word in AXES), "env_steps")


def courses_of(store: StoredNumbers, style: Sequence[str], entries: Sequence[str]) -> list[Course]:
    """Courses of entries `name | experiment/run`, one in each panel, which are called by their columns; and of entries
    `name | experiment/run | column`, in the first panel. Runs of one name have one colour."""
    courses, over = [], axis_of(style)
    panels = [word for word in style if word not in AXES]
    for entry in entries:
        name, source, *columns = (part.strip() for part in entry.split("|"))
        rows = store.matching(source, "curves")
        for panel, column in [(panels[0], columns[0])] if columns else [(panel, panel) for panel in panels]:
            width = f"{column}_interval95"
            if rows[0].get(column):
                numbers = {key: [float(row[key]) for row in rows] for key in (over, column)}
                widths = [float(row[width]) for row in rows] if rows[0].get(width) else []
                courses.append(Course(panel, name, numbers[over], numbers[column], widths))
    return courses


def draw_courses(courses: Sequence[Course], axis: str) -> Figure:
    """The panels below each other, over one axis that counts this column."""
    panels = list(dict.fromkeys(course.panel for course in courses))
    figure = Figure(figsize=(8, 0.8 + 2.4 * len(panels)), layout="constrained")
    names = list(dict.fromkeys(course.name for course in courses))
    colour = dict(zip(names, shades(len(names)), strict=True))
    for axes, panel in zip(figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels, strict=True):
        for course in (course for course in courses if course.panel == panel):
            axes.plot(course.steps, course.values, color=colour[course.name], label=course.name, linewidth=1.2)
            if course.widths:
                low, high = ([value + sign * width for value, width in zip(course.values, course.widths, strict=True)]
                             for sign in (-1, 1))  # fmt: skip
                axes.fill_between(course.steps, low, high, color=colour[course.name], alpha=0.2, linewidth=0)
        axes.set_ylabel(panel.replace("_", " "))
        axes.grid(alpha=0.3)
    axes.set_xlabel(AXES[axis])
    handles = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(list(handles.values()), list(map(str, handles)), loc="outside right upper", fontsize=8)
    return figure
