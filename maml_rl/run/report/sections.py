"""The page's sections: which charts, tables and pictures they have, and what is said below them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maml_rl.run.compare import Adaptation
from maml_rl.run.report import charts
from maml_rl.run.report.charts import Line, Points
from maml_rl.run.report.gather import Run
from maml_rl.run.report.group_lines import is_wide, line_of
from maml_rl.run.report.groups import Group, mean_adaptation
from maml_rl.run.report.media import embed
from maml_rl.run.report.over_training import learning, schedules
from maml_rl.run.report.section import Chart, Picture, Section
from maml_rl.run.report.tables import configuration_table, counted, overview_table, plural, seconds_table

__all__ = ["sections"]

Array = NDArray[np.float64]
_MOST_TASKS = 200


def sections(groups: Sequence[Group], log: bool = False) -> list[Section]:
    """All of the page's sections.

    Args:
        groups: at least one.
        log: whether the curves over steps of adaptation have a logarithmic axis.
    """
    runs = [run for group in groups for run in group.runs]
    return [
        _overview(runs),
        learning(groups),
        *schedules(groups),
        _adaptation(groups, log),
        _task_by_task(groups),
        _seconds(runs),
        _configurations(runs),
        _pictures(runs),
    ]


def _overview(runs: Sequence[Run]) -> Section:
    evaluated = any(run.adaptation for run in runs)
    trained = any(run.learning for run in runs)
    notes = ["Evaluations are means with 95% intervals over held-out tasks."] * evaluated
    notes += ["The final and the best value are single points of the training curve, which is noisy."] * trained
    return Section("Runs", table=overview_table(runs), notes=[" ".join(notes)])


def _adaptation(groups: Sequence[Group], log: bool) -> Section:
    title = "Adaptation on held-out tasks"
    adaptations = [adaptation for group in groups for adaptation in group.adaptations]
    if not adaptations:
        return Section(title, notes=["None of the runs has an evaluation.json."])
    others = dict.fromkeys(name for adaptation in adaptations for name in adaptation.also)
    drawn = [_adaptation_chart(groups, adaptations, name, log) for name in ("", *others)]
    protocols = dict.fromkeys(adaptation.protocol for adaptation in adaptations if adaptation.protocol)
    missing = [run.name for group in groups for run in group.runs if run.adaptation is None]
    notes = [f"Evaluated on held-out tasks, {'; or '.join(protocols)}."] * bool(protocols)
    notes += [f"Without an evaluation: {', '.join(missing)}."] * bool(missing)
    return Section(title, drawn, notes=notes)


def _adaptation_chart(groups: Sequence[Group], adaptations: Sequence[Adaptation], other: str, log: bool) -> Chart:
    """The evaluations' main measure over steps of adaptation, or another one by name."""
    drawn, over = list[Line](), dict[str, list[str]]()
    for index, group in enumerate(groups):
        curve = mean_adaptation(group.adaptations, other)
        if curve is None:
            continue
        single = [_steps_and_means(each, other) for each in group.adaptations if not other or other in each.also]
        count = f" ({len(single)} of {plural(len(group.runs), 'run')})" if len(single) < len(group.runs) else ""
        over.setdefault(curve.over, []).append(group.name + count)
        drawn.append(line_of(index, group, curve, single if len(single) > 1 else []))
    measure, axis = adaptations[0].measure, _axis(adaptations)
    positive = is_wide(drawn, 0)
    uses_log = positive and not other and (log or (not measure.higher_is_better and is_wide(drawn, 1e3)))
    vertical = (other or measure.title) + (", logarithmic" if uses_log else "")
    figure = charts.lines(drawn, axis, vertical, uses_log, True, {} if other else _shared_references(adaptations))
    words = {"seeds": "over seeds (Student's t)", "tasks": "over the evaluation's held-out tasks"}
    note = f"95% intervals {'; '.join(f'{words[what]}: ' + ', '.join(names) for what, names in over.items())}."
    if log and not positive:
        note += " A logarithmic axis was asked for, but not all numbers are positive."
    return Chart(f"{(other or measure.name).capitalize()} over {axis}", figure, note)


def _shared_references(adaptations: Sequence[Adaptation]) -> dict[str, float]:
    """Numbers to hold the curves against that all evaluations agree on."""
    first = adaptations[0].references
    return {
        name: value
        for name, value in first.items()
        if all(np.isclose(each.references.get(name, np.nan), value, rtol=1e-9) for each in adaptations)
    }


def _steps_and_means(adaptation: Adaptation, other: str) -> tuple[Array, Array]:
    means = adaptation.also[other][0] if other else adaptation.means
    return np.arange(len(means), dtype=float), means


def _task_by_task(groups: Sequence[Group]) -> Section:
    title = "Task by task"
    evaluated = [(index, run) for index, group in enumerate(groups) for run in group.runs if run.adaptation]
    missing = [run.name for _, run in evaluated if run.per_task is None]
    still = [run.name for _, run in evaluated if run.per_task is not None and len(run.per_task) == 1]
    notes = [f"Without an evaluation.npz beside its evaluation.json, and so not drawn: {', '.join(missing)}."] * bool(
        missing
    ) + [f"Evaluated after 0 steps only, and so not drawn: {', '.join(still)}."] * bool(still)
    pairs = [(index, run, run.per_task) for index, run in evaluated if run.per_task is not None]
    moving = [(index, run, values) for index, run, values in pairs if len(values) > 1]
    if not moving:
        return Section(title, notes=notes or ["None of the runs has an evaluation."])
    adaptations = [run.adaptation for _, run, _ in moving if run.adaptation]
    measure, step = adaptations[0].measure, min(len(values) for _, _, values in moving) - 1
    points = [
        Points(index, run.name, values[0, :_MOST_TASKS], values[step, :_MOST_TASKS]) for index, run, values in moving
    ]
    ends = np.concatenate([end for run in points for end in (run.before, run.after)])
    log = not measure.higher_is_better and bool((ends[np.isfinite(ends)] > 0).all())
    figure = charts.scatter(points, "before adaptation", f"after {counted(step, _axis(adaptations))}", log)
    better = "above" if measure.higher_is_better else "below"
    lost = sum(int((~np.isfinite(run.before + run.after)).sum()) for run in points)
    own = [f"A mark is a held-out task; {better} the dashed diagonal adaptation made it better."]
    own += [f"Only the first {_MOST_TASKS} tasks of a run are drawn."] * any(
        values.shape[1] > _MOST_TASKS for _, _, values in moving
    )
    own += [f"{plural(lost, 'task')} diverged and cannot be drawn."] * bool(lost)
    return Section(
        title, [Chart(f"{measure.title.capitalize()} on each held-out task", figure, " ".join(own))], notes=notes
    )


def _seconds(runs: Sequence[Run]) -> Section:
    title = "Where the time went"
    rows = [(run.name, run.parts) for run in runs if sum(run.parts.values()) > 0]
    if not rows:
        return Section(title, notes=["None of the runs has a progress.csv with seconds."])
    parts = list(dict.fromkeys(part for _, values in rows for part in values))
    figure = charts.bars(rows, parts, "mean seconds of a meta-iteration")
    note = "Validation comes on top of the iterations, and is spread over all of them." if "validation" in parts else ""
    return Section(title, [Chart("Seconds by part", figure, note)], seconds_table(rows, parts))


def _configurations(runs: Sequence[Run]) -> Section:
    title, table = "Configurations", configuration_table(runs)
    unknown = [run.name for run in runs if not run.config]
    notes = [f"Without a config.yaml: {', '.join(unknown)}."] * bool(unknown)
    if len(runs) - len(unknown) < 2:
        return Section(title, notes=["There are no two configurations to compare.", *notes])
    if not table.rows:
        return Section(title, notes=["The configurations are the same.", *notes])
    legend = "What is not listed is the same in all runs. A dash is a setting that the run does not have."
    return Section(title, table=table, notes=[legend, *notes])


def _pictures(runs: Sequence[Run]) -> Section:
    title = "Films and pictures"
    paths = [(run, path) for run in runs for path in run.pictures]
    pictures = []
    for (run, path), embedded in zip(paths, embed([path for _, path in paths]), strict=True):
        caption = f"{run.name}: {path.relative_to(run.folder).as_posix()}, {embedded.note}"
        pictures.append(Picture(embedded, caption, path.name))
    notes = [] if pictures else ["There are no films or pictures in the folders."]
    return Section(title, pictures=pictures, notes=notes)


def _axis(adaptations: Sequence[Adaptation]) -> str:
    """What the evaluations count, gradient steps as a rule."""
    return " or ".join(dict.fromkeys(adaptation.axis for adaptation in adaptations))
