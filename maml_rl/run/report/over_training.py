"""The page's sections of curves over training: how well the runs do, and what they learn or anneal on the way."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.compare import Learning
from maml_rl.run.horizontals import Horizontal, horizontals_of, shared_by_all
from maml_rl.run.report import charts
from maml_rl.run.report.charts import Line
from maml_rl.run.report.gather import Run
from maml_rl.run.report.group_lines import is_wide, line_of
from maml_rl.run.report.groups import Group, mean_course
from maml_rl.run.report.section import Chart, Section

__all__ = ["learning", "schedules"]

Array = NDArray[np.float64]
_OVER_RUNS = "95% intervals of the mean over seeds (Student's t), as far as every run of the group goes"
_WITHIN = "the run's own 95% intervals over the seeds that it holds, where a group is a single run"


def learning(groups: Sequence[Group]) -> Section:
    """How well the runs do, over everything that they count."""
    curves = [run.learning for group in groups for run in group.runs if run.learning]
    if not curves:
        return Section("Learning", notes=["None of the runs has a learning curve."])
    drawn = [_learning_chart(groups, curves[0], horizontal) for horizontal in horizontals_of(curves)]
    note = "What goes far beyond the rest is cut at the frame; a double click on a chart shows all of it, another less."
    bands = _bands(groups, lambda run: [run.learning] if run.learning else [])
    several = " Single runs are faint." * any(len([run for run in group.runs if run.learning]) > 1 for group in groups)
    return Section("Learning", drawn, notes=[f"{bands}{several} {note}".strip()])


def schedules(groups: Sequence[Group]) -> list[Section]:
    """What the runs learn or anneal on the way, a chart for each panel; no section where none of them declares any."""
    declared = dict.fromkeys(
        (panel.title, panel.metrics) for group in groups for run in group.runs for panel in run.panels
    )
    if not declared:
        return []
    drawn = [_schedule_chart(groups, title, metrics) for title, metrics in declared]
    bands = _bands(groups, lambda run: [curve for panel in run.panels for curve in panel.curves])
    return [Section("Schedules", drawn, notes=[bands] if bands else [])]


def _bands(groups: Sequence[Group], curves_of: Callable[[Run], Sequence[Learning]]) -> str:
    """What the bands are, in words."""
    drawn = [[run for run in group.runs if curves_of(run)] for group in groups]
    own = any(curve.widths is not None for runs in drawn if len(runs) == 1 for curve in curves_of(runs[0]))
    said = [_OVER_RUNS] * any(len(runs) > 1 for runs in drawn) + [_WITHIN] * own
    return f"Bands are {', and '.join(said)}." if said else ""


def _learning_chart(groups: Sequence[Group], example: Learning, horizontal: Horizontal) -> Chart:
    drawn, missing, apart = list[Line](), list[str](), list[str]()
    for index, group in enumerate(groups):
        curves = [run.learning for run in group.runs if run.learning is not None]
        missing += [curve.name for curve in curves if horizontal.places(curve) is None]
        mean = mean_course(curves, horizontal)
        if mean is not None:
            apart += [group.name] * (not len(mean.places))
            drawn.append(line_of(index, group, mean, _faint(curves, horizontal)))
    log = not example.measure.higher_is_better and is_wide(drawn, 10)
    vertical = example.label + (", logarithmic" if log else "")
    notes = [f"Not drawn, for lack of {horizontal.label}: {', '.join(missing)}."] * bool(missing)
    notes += [f"No mean, for lack of a stretch that all seeds have: {', '.join(apart)}."] * bool(apart)
    return Chart(
        f"Over {horizontal.label.partition(' (')[0]}",
        charts.lines(drawn, horizontal.label, vertical, log),
        " ".join(notes),
    )


def _schedule_chart(groups: Sequence[Group], title: str, metrics: tuple[str, ...]) -> Chart:
    """The courses of a panel's metrics, a line for each metric of each group that declares the panel."""
    found = [(index, group, _curves(group, title, metrics)) for index, group in enumerate(groups)]
    concerned = [(index, group, curves) for index, group, curves in found if curves]
    horizontal = shared_by_all([curve for _, _, curves in concerned for curve in curves])
    drawn = list[Line]()
    for index, group, curves in concerned:
        for part, metric in enumerate(metrics):
            courses = [curve for curve in curves if curve.column == metric]
            mean = mean_course(courses, horizontal)
            if mean is not None and len(metrics) == 1:
                drawn.append(line_of(index, group, mean, _faint(courses, horizontal)))
            elif mean is not None:
                name = courses[0].label if len(concerned) == 1 else f"{courses[0].label}, {group.name}"
                line = line_of(index, group, mean, [])
                drawn.append(line._replace(name=name, part=part, parts=len(metrics)))
    note = "Colours tell the quantities apart, dashes the groups." if len(metrics) > 1 and len(concerned) > 1 else ""
    return Chart(title[:1].upper() + title[1:], charts.lines(drawn, horizontal.label, title), note)


def _curves(group: Group, title: str, metrics: tuple[str, ...]) -> list[Learning]:
    """Of a group's runs, those that belong to a panel."""
    panels = [panel for run in group.runs for panel in run.panels if (panel.title, panel.metrics) == (title, metrics)]
    return [curve for panel in panels for curve in panel.curves]


def _faint(curves: Sequence[Learning], horizontal: Horizontal) -> list[tuple[Array, Array]]:
    """The single curves behind a mean, of (places, values); none where it is of one."""
    single = [(places, curve.values) for curve in curves if (places := horizontal.places(curve)) is not None]
    return single if len(single) > 1 else []
