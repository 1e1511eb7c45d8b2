"""The page: one HTML file that needs no other, with tables, charts and films of the compared runs."""

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maml_rl import __version__
from maml_rl.run.compare import Adaptation, Learning
from maml_rl.run.errors import RunFault
from maml_rl.run.files import write_text
from maml_rl.run.report import charts
from maml_rl.run.report.charts import Line, Points
from maml_rl.run.report.gather import LeftOut, Run
from maml_rl.run.report.groups import Curve, Group, differences, mean_adaptation, mean_curve
from maml_rl.run.report.media import embed
from maml_rl.run.report.style import SCRIPT, STYLE

__all__ = ["page", "write_page"]

Array = NDArray[np.float64]
_DASH = "–"  # noqa: RUF001
_MOST_TASKS = 200
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_PLURALS = {"return": "returns", "accuracy": "accuracies", "error": "errors"}
_MEASURES = {
    "return": "return (sum of rewards)",
    "accuracy": "accuracy (fraction correct)",
    "error": "mean squared error",
    "return after": "return after adaptation (sum of rewards)",
    "validation accuracy": "validation accuracy (fraction correct)",
    "validation error": "validation error (mean squared)",
}


def write_page(text: str, path: Path) -> Path:
    """Writes the page.

    Raises:
        RunFault: the file cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise RunFault(f"{path} could not be written: {error.strerror or error}") from error
    return path


def page(
    groups: Sequence[Group],
    left_out: Sequence[LeftOut],
    warnings: Sequence[str],
    title: str,
    log: bool = False,
) -> str:
    """The whole page as text.

    Args:
        groups: at least one.
        left_out: what could not be shown.
        warnings: what makes the comparison less than fair.
        title: of the page.
        log: whether the curves over gradient steps have a logarithmic axis.
    """
    runs = [run for group in groups for run in group.runs]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{_plural(len(runs), "run")} in {_plural(len(groups), "group")}. {_grouping(groups)}</p>',
        _notice("Not quite alike", warnings),
        _left_out(left_out),
        _section("Runs", _overview(runs)),
        _section("Learning", _learning(groups)),
        _section("Adaptation on held-out tasks", _adaptation(groups, log)),
        _section("Task by task", _scatter(groups)),
        _section("Where the time went", _times(runs)),
        _section("Configurations", _configurations(runs)),
        _section("Films and pictures", _films(runs)),
        f'<p class="soft">maml_rl {escape(__version__)}</p>',
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _grouping(groups: Sequence[Group]) -> str:
    several = [group for group in groups if len(group.runs) > 1]
    if not several:
        return "Every group is a single run, so nothing here is a mean over seeds."
    told = "; ".join(f"{escape(group.name)}: {_plural(len(group.runs), 'run')}" for group in several)
    return f"Curves of a group are means over its runs ({told}), with each run faintly behind."


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _notice(title: str, entries: Sequence[str]) -> str:
    if not entries:
        return ""
    items = "".join(f"<li>{escape(entry)}</li>" for entry in entries)
    return f'<div class="notice"><h3>{escape(title)}</h3><ul>{items}</ul></div>'


def _left_out(left_out: Sequence[LeftOut]) -> str:
    told = [f"{entry.name}{' (wholly)' if entry.wholly else ''}: {entry.reason}" for entry in left_out]
    return _notice("Left out", told)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], about: str) -> str:
    """A table in a box that scrolls by itself; the first column names the rows and stays."""
    top = "".join(
        f'<th scope="col"{"" if index else " class=name"}>{escape(cell)}</th>' for index, cell in enumerate(head)
    )
    body = ""
    for row in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        name = re.sub(r"([._/])", r"\1<wbr>", escape(row[0]))
        body += f'<tr><th scope="row" class="name">{name}</th>{cells}</tr>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(about)}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _overview(runs: Sequence[Run]) -> str:
    steps = _shown_steps(max((len(run.adaptation.means) for run in runs if run.adaptation), default=0))
    measures = [run.adaptation.measure for run in runs if run.adaptation]
    axis = _axis([run.adaptation for run in runs if run.adaptation])
    curves = [run.learning.measure.replace("return after", "training return") for run in runs if run.learning]
    head = ["run", "system", "task", "seed", "iterations", "environment steps", "minutes"]
    head += [f"{which} {curves[0] if curves else 'value'}" for which in ("final", "best")] + ["evaluation of"]
    head += [f"{measures[0]} after {_counted(step, axis)}" for step in steps]
    rows = [[*_about(run), *_training(run), *_evaluated(run, steps), _versions(run)] for run in runs]
    note = f"Held-out {_PLURALS[measures[0]]} with 95% intervals over their tasks. " if measures else ""
    note += "The final and the best value are single points of the training curve, which is noisy." if curves else ""
    return _table([*head, "versions"], rows, "runs") + f'<p class="soft">{note}</p>'


def _about(run: Run) -> list[str]:
    return [run.name, run.system or _DASH, run.task or _DASH, _DASH if run.seed is None else str(run.seed)]


def _training(run: Run) -> list[str]:
    """Iterations, environment steps, minutes, final and best value of the training curve."""
    if not run.rows:
        return [_DASH] * 5
    last = run.rows[-1]
    told = [f"{last['iteration'] + 1:.0f}", charts.short(last["env_steps"]) if "env_steps" in last else _DASH]
    if run.learning is None:
        return [*told, *[_DASH] * 3]
    best = (np.min if run.learning.measure.endswith("error") else np.max)(run.learning.values)
    values = (run.learning.values[-1], best)
    return [*told, f"{run.learning.minutes[-1]:.1f}", *(_number(value, run.learning.measure) for value in values)]


def _evaluated(run: Run, steps: Sequence[int]) -> list[str]:
    """What was evaluated, and mean and interval after each of the steps."""
    found = run.adaptation
    if found is None:
        return [_DASH, *[_DASH for _ in steps]]
    state = str(found.settings.get("checkpoint", ""))
    told = ", ".join(
        part for part in (f"{state} state" if state else "", f"in {run.place}/" if run.place else "") if part
    )
    numbers = [
        _plus_minus(found.means[step], found.intervals[step], found.measure) if step < len(found.means) else _DASH
        for step in steps
    ]
    return [told or _DASH, *numbers]


def _versions(run: Run) -> str:
    names = ("maml_rl", "python", "torch", "numpy", "mujoco", "cuda_device")
    return ", ".join(f"{name} {run.versions[name]}" for name in names if run.versions.get(name)) or _DASH


def _shown_steps(count: int) -> list[int]:
    return [step for step in range(count) if count <= 12 or step in (0, 1, 2, 3, 5, 10, 20, 50, 100, count - 1)]


def _legend(groups: Sequence[Group], shown: Sequence[int]) -> str:
    """Names of the groups below a chart; buttons, which the page's script wakes."""
    entries = ""
    for index in shown:
        group = groups[index]
        count = f" ({_plural(len(group.runs), 'run')})" if len(group.runs) > 1 else ""
        told = f"{charts.sample(index)}<span>{escape(group.name)}{count}</span>"
        button = f'<button type="button" disabled data-series="{index}" aria-pressed="true">{told}</button>'
        entries += f"<li>{button}</li>"
    return f'<ul class="legend">{entries}</ul>'


def _figure(title: str, chart: str, below: str, note: str = "") -> str:
    """A chart under its title; `note` is HTML."""
    readout = '<p class="readout" aria-live="polite"></p>' if "application/json" in chart else ""
    caption = f"<figcaption>{note}</figcaption>" if note else ""
    return f"<figure><h3>{escape(title)}</h3>{chart}{readout}{below}{caption}</figure>"


def _learning(groups: Sequence[Group]) -> str:
    curves = [run.learning for group in groups for run in group.runs if run.learning]
    if not curves:
        return "<p>None of the runs has a learning curve.</p>"
    axes: list[tuple[str, str, str, Callable[[Learning], Array | None]]] = []
    if any(curve.env_steps is not None for curve in curves):
        axes.append(("env", "Over environment steps", "environment steps", lambda curve: curve.env_steps))
    axes.append(("time", "Over wall time", "wall time of training (minutes)", lambda curve: curve.minutes))
    if any(curve.env_steps is None for curve in curves):
        axes.append(("iterations", "Over meta-iterations", "meta-iterations", lambda curve: curve.iterations))
    body = "".join(_learning_over(groups, *axis) for axis in axes)
    note = "What goes far beyond the rest is cut at the frame."
    if any(len([run for run in group.runs if run.learning]) > 1 for group in groups):
        note = (
            "Bands are 95% intervals of the mean over seeds (Student's t), as far as every run of the group goes; "
            f"single runs are faint. {note}"
        )
    return f'<div class="charts">{body}</div><p class="soft">{note}</p>'


def _learning_over(
    groups: Sequence[Group], name: str, title: str, horizontal: str, places: Callable[[Learning], Array | None]
) -> str:
    drawn, missing, apart, measure = [], list[str](), list[str](), ""
    for index, group in enumerate(groups):
        single = []
        for run in group.runs:
            found = None if run.learning is None else places(run.learning)
            if run.learning is not None and found is not None:
                single.append((found, run.learning.values))
                measure = run.learning.measure
            elif run.learning is not None:
                missing.append(run.name)
        if single:
            curve = mean_curve(single)
            if not len(curve.places):
                apart.append(group.name)
            drawn.append(_line(index, group, curve, single if len(single) > 1 else []))
    log = _is_wide(drawn, 10) and measure.endswith("error")
    vertical = _MEASURES.get(measure, measure) + (", logarithmic" if log else "")
    chart = charts.lines(f"learning-{name}", drawn, horizontal, vertical, log)
    note = f"Not drawn, for lack of {escape(horizontal)}: {escape(', '.join(missing))}." if missing else ""
    if apart:
        note += f" No mean, for lack of a stretch that all seeds have: {escape(', '.join(apart))}."
    return _figure(title, chart, _legend(groups, [line.series for line in drawn]), note.strip())


def _is_wide(drawn: Sequence[Line], factor: float) -> bool:
    """Whether all numbers are positive and the largest is more than `factor` times the smallest."""
    values = np.concatenate([line.values for line in drawn] + [part[1] for line in drawn for part in line.single])
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(values.min() > 0) and bool(values.max() > factor * values.min())


def _line(index: int, group: Group, curve: Curve, single: Sequence[tuple[Array, Array]]) -> Line:
    return Line(index, group.name, curve.places, curve.means, curve.widths, tuple(single))


def _adaptation(groups: Sequence[Group], log: bool) -> str:
    drawn, over = [], dict[str, list[str]]()
    for index, group in enumerate(groups):
        curve = mean_adaptation(group.runs)
        if curve is None:
            continue
        found = [run.adaptation for run in group.runs if run.adaptation]
        count = f" ({len(found)} of {_plural(len(group.runs), 'run')})" if len(found) < len(group.runs) else ""
        over.setdefault(curve.over, []).append(group.name + count)
        single = [(np.arange(len(each.means), dtype=float), each.means) for each in found] if len(found) > 1 else []
        drawn.append(_line(index, group, curve, single))
    if not drawn:
        return "<p>None of the runs has an evaluation.json.</p>"
    known = [run.adaptation for group in groups for run in group.runs if run.adaptation]
    measure, axis = known[0].measure, _axis(known)
    positive = _is_wide(drawn, 0)
    uses_log = positive and (log or (measure == "error" and _is_wide(drawn, 1e3)))
    vertical = _MEASURES[measure] + (", logarithmic" if uses_log else "")
    chart = charts.lines("adaptation", drawn, axis, vertical, uses_log, True)
    words = {"seeds": "over seeds (Student's t)", "tasks": "over the evaluation's held-out tasks"}
    told = "; ".join(f"{words[kind]}: {', '.join(names)}" for kind, names in over.items())
    note = f"95% intervals {escape(told)}."
    note += " A logarithmic axis was asked for, but not all numbers are positive." if log and not positive else ""
    missing = [run.name for group in groups for run in group.runs if run.adaptation is None]
    note += f" Without an evaluation: {escape(', '.join(missing))}." if missing else ""
    below = _legend(groups, [line.series for line in drawn])
    return f'<div class="charts">{_figure(f"{measure.capitalize()} over {axis}", chart, below, note)}</div>'


def _scatter(groups: Sequence[Group]) -> str:
    found = [(index, run, run.per_task) for index, group in enumerate(groups) for run in group.runs]
    known = [(index, run, values) for index, run, values in found if values is not None and len(values) > 1]
    missing = [run.name for _, run, values in found if values is None and run.adaptation is not None]
    still = [run.name for _, run, values in found if values is not None and len(values) == 1]
    notes = [f"Without an evaluation.npz beside its evaluation.json, and so not drawn: {', '.join(missing)}."] * bool(
        missing
    ) + [f"Evaluated after 0 steps only, and so not drawn: {', '.join(still)}."] * bool(still)
    if not known:
        told = " ".join(notes) or "None of the runs has an evaluation."
        return f"<p>{escape(told)}</p>"
    adaptation: Adaptation = next(run.adaptation for _, run, _ in known if run.adaptation)
    step = min(len(values) for _, _, values in known) - 1
    axis = _axis([run.adaptation for _, run, _ in known if run.adaptation])
    points = [
        Points(index, run.name, values[0, :_MOST_TASKS], values[step, :_MOST_TASKS]) for index, run, values in known
    ]
    ends = np.concatenate([part for run in points for part in (run.before, run.after)])
    log = adaptation.measure == "error" and bool((ends[np.isfinite(ends)] > 0).all())
    better = "below" if adaptation.measure == "error" else "above"
    chart = charts.scatter(
        points,
        f"before adaptation: {adaptation.measure}",
        f"after {_counted(step, axis)}: {adaptation.measure}",
        log,
    )
    notes = [f"A mark is a held-out task; {better} the dashed diagonal adaptation made it better.", *notes]
    if any(values.shape[1] > _MOST_TASKS for _, _, values in known):
        notes.append(f"Only the first {_MOST_TASKS} tasks of a run are drawn.")
    lost = sum(int((~np.isfinite(run.before + run.after)).sum()) for run in points)
    notes += [f"{_plural(lost, 'task')} diverged and cannot be drawn."] * bool(lost)
    below = _legend(groups, sorted({run.series for run in points}))
    title = "Held-out tasks before and after adaptation"
    return f'<div class="charts">{_figure(title, chart, below, escape(" ".join(notes)))}</div>'


def _times(runs: Sequence[Run]) -> str:
    rows = [(run.name, run.parts) for run in runs if sum(run.parts.values()) > 0]
    if not rows:
        return "<p>None of the runs has a progress.csv with seconds.</p>"
    parts = list(dict.fromkeys(part for _, found in rows for part in found))
    chart = charts.bars(rows, parts, "mean seconds of a meta-iteration")
    entries = "".join(
        f'<li><span class="part">{charts.sample(index, True)}{escape(part)}</span></li>'
        for index, part in enumerate(parts)
    )
    note = ""
    if "rest of the iteration" in parts:
        note = (
            "Supervised runs time the drawing of tasks within the iteration: it is told apart from the iteration's "
            "rest, and validation, which comes on top, is spread over all iterations."
        )
    figure = _figure("Seconds by part", chart, f'<ul class="legend">{entries}</ul>', note)
    numbers = [
        [name, *(f"{found[part]:.3g}" if part in found else _DASH for part in parts), f"{sum(found.values()):.3g}"]
        for name, found in rows
    ]
    table = _table(["run", *(f"{part} (s)" for part in parts), "together (s)"], numbers, "seconds")
    return f'<div class="charts">{figure}<div>{table}</div></div>'


def _configurations(runs: Sequence[Run]) -> str:
    known = [run for run in runs if run.config]
    unknown = [run.name for run in runs if not run.config]
    note = f'<p class="soft">Without a config.yaml: {escape(", ".join(unknown))}.</p>' if unknown else ""
    if len(known) < 2:
        return f"<p>There are no two configurations to compare.</p>{note}"
    rows = [[key, *values] for key, values in differences(runs).items()]
    if not rows:
        return f"<p>The resolved configurations are the same.</p>{note}"
    told = f"What is not listed is the same in all runs. {_DASH} is a setting that the run does not have."
    return (
        f'<p class="soft">{told}</p>'
        + _table(["setting", *(run.name for run in known)], rows, "differing settings")
        + note
    )


def _films(runs: Sequence[Run]) -> str:
    paths = [(run, path) for run in runs for path in run.pictures]
    if not paths:
        return "<p>There are no films or pictures in the folders.</p>"
    body = ""
    for (run, path), made in zip(paths, embed([path for _, path in paths]), strict=True):
        name = path.relative_to(run.folder).as_posix()
        body += f"<figure>{made.element}<figcaption>{escape(f'{run.name}: {name}, {made.note}')}</figcaption></figure>"
    return f'<div class="charts">{body}</div>'


def _axis(known: Sequence[Adaptation]) -> str:
    """What the evaluations count, gradient steps as a rule."""
    return " or ".join(dict.fromkeys(adaptation.axis for adaptation in known))


def _counted(count: int, axis: str) -> str:
    return f"{count} {axis.removesuffix('s') if count == 1 else axis}"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _number(value: Any, measure: str) -> str:
    digits = 2 if "return" in measure else 4
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}"


def _plus_minus(mean: float, width: float, measure: str) -> str:
    if np.isnan(mean):
        return "diverged"
    return _number(mean, measure) if np.isnan(width) else f"{_number(mean, measure)} ± {_number(width, measure)}"
