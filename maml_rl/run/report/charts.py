"""Charts as Plotly figures: lines with bands or error bars, points before and after, stacked bars.

Traces of a group share a `legendgroup`, by which the page switches them in all charts at once.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from maml_rl.run.report.palette import SOFT, colour, dash, level_dash, marker
from maml_rl.run.schedules import evenly_chosen

__all__ = ["Line", "Points", "bars", "lines", "scatter"]

Array = NDArray[np.float64]
_PLOT, _ROW = 350, 20  # heights in pixels: of axes and their labels, of a line of the legend
_MOST_NAMES = 10
_FAR = 1e3  # times the median: where a logarithmic axis ends at first


class Line(NamedTuple):
    """A curve with its interval and the single ones it is the mean of.

    Attributes:
        series: number of the group; gives colour, dashes and marker, or dashes and marker where `parts` has several.
        name: of the group.
        places: [P].
        values: [P].
        widths: half of the intervals, [P]; None where there are none.
        single: (places, values) of each seed, drawn faintly.
        part: which of the group's curves it is; gives the colour where there are several.
        parts: how many they are. The legend names at most ten curves of all groups, but both ends of each.
    """

    series: int
    name: str
    places: Array
    values: Array
    widths: Array | None = None
    single: tuple[tuple[Array, Array], ...] = ()
    part: int = 0
    parts: int = 1


class Points(NamedTuple):
    """Tasks before and after adaptation: the group's number, the run's name, and two numbers a task, each [N]."""

    series: int
    name: str
    before: Array
    after: Array


def lines(
    curves: Sequence[Line],
    horizontal: str,
    vertical: str,
    log: bool = False,
    markers: bool = False,
    levels: Mapping[str, float] | None = None,
) -> go.Figure:
    """Curves with 95% intervals.

    Args:
        curves: at least one.
        horizontal: label of the horizontal axis, with its unit.
        vertical: label of the vertical axis, with its unit.
        log: whether the vertical axis is logarithmic; what is not positive is then not drawn.
        markers: whether the points are marked, with error bars in place of the band. The horizontal axis then has whole
            numbers, bars stand beside each other, and a curve of a single point is a level to hold others against.
        levels: further numbers to hold the curves against, by name.
    """
    longest = max((curve.places for curve in curves), key=len)
    front = [_marked(curve, longest) if markers else _mean(curve) for curve in curves]
    most = max(2, _MOST_NAMES // len({curve.series for curve in curves}))
    for curve, trace in zip(curves, front, strict=True):
        trace.showlegend = curve.part in evenly_chosen(curve.parts, most)
    bands = [] if markers else [_band(curve, curve.widths, log) for curve in curves if curve.widths is not None]
    figure = go.Figure([*bands, *(trace for curve in curves for trace in _single(curve)), *front])
    figure.add_traces(
        [_level(name, value, longest, level_dash(index)) for index, (name, value) in enumerate((levels or {}).items())]
    )
    figure.update_layout(hovermode="x unified", hoverdistance=40, scattermode="group", scattergap=0.85)
    figure.update_xaxes(title=horizontal, dtick=1 if markers and len(longest) < 12 else None, hoverformat=",.5~r")
    figure.update_xaxes(showspikes=True, spikethickness=1, spikedash="solid", spikecolor=SOFT)
    figure.update_yaxes(title=vertical, type="log" if log else "linear", range=_heights(curves, levels or {}, log))
    return _with_legend(figure, sum(trace.showlegend for trace in front) + len(levels or {}))


def scatter(runs: Sequence[Points], horizontal: str, vertical: str, log: bool = False) -> go.Figure:
    """Each task's number after adaptation over the one before; on the diagonal nothing changed."""
    ends = _span([values for run in runs for values in (run.before, run.after)], log)
    corners = np.power(10.0, ends) if log else np.array(ends)
    figure = go.Figure(_level("no change", corners, corners))
    for run in runs:
        figure.add_scatter(
            x=run.before,
            y=run.after,
            customdata=np.arange(len(run.before)),
            mode="markers",
            marker={**marker(run.series), "size": 9, "opacity": 0.75},
            name=_shown(run.name),
            legendgroup=str(run.series),
            hovertemplate="task %{customdata}: %{x:.5g} before, %{y:.5g} after<extra>%{fullData.name}</extra>",
        )
    axis = {"type": "log" if log else "linear", "range": ends}
    figure.update_layout(hovermode="closest", xaxis={"title": horizontal, **axis}, yaxis={"title": vertical, **axis})
    return _with_legend(figure, len(runs) + 1)


def bars(rows: Sequence[tuple[str, dict[str, float]]], parts: Sequence[str], horizontal: str) -> go.Figure:
    """A bar for each row, stacked of its parts, which the legend switches."""
    sums = [sum(values.values()) for _, values in rows]
    figure = go.Figure()
    for part, shade in zip(parts, sample_colorscale("Viridis", np.linspace(0.1, 0.85, len(parts))), strict=True):
        seconds = np.array([values.get(part, 0.0) for _, values in rows])
        figure.add_bar(
            x=seconds,
            y=np.arange(len(rows)),
            orientation="h",
            width=0.5,
            name=_shown(part),
            legendgroup=f"part {part}",
            marker={"color": shade, "line": {"width": 0}},
            customdata=seconds / np.maximum(sums, 1e-9),
            hovertemplate="%{x:.3g} s, %{customdata:.0%}",
        )
    for place, ((name, _), total) in enumerate(zip(rows, sums, strict=True)):
        text = f"{_shown(name, 36)}: {total:.3g} s"
        figure.add_annotation(x=0, y=place, text=text, showarrow=False, xanchor="left", yshift=22)
    figure.update_layout(barmode="stack", hovermode="closest")
    figure.update_xaxes(title=horizontal, rangemode="tozero")
    figure.update_yaxes(visible=False, range=[len(rows) - 0.5, -0.8], fixedrange=True)
    return _with_legend(figure, len(parts), 112 + 56 * len(rows))


def _mean(curve: Line) -> go.Scatter:
    widths = np.full(len(curve.values), np.nan) if curve.widths is None else curve.widths
    return go.Scatter(
        x=curve.places,
        y=curve.values,
        mode="lines" if len(curve.places) > 1 else "lines+markers",
        line={
            "color": colour(curve.series, curve.part, curve.parts),
            "width": 2,
            "dash": dash(curve.series, curve.parts),
        },
        marker={**marker(curve.series, curve.part, curve.parts), "size": 8},
        name=_shown(curve.name),
        legendgroup=str(curve.series),
        customdata=[f" ± {width:.3g}" if np.isfinite(width) else "" for width in widths],
        hovertemplate="%{y:.4g}%{customdata}",
    )


def _marked(curve: Line, longest: Array) -> go.Scatter:
    """The curve with markers and error bars beside those of other groups; a single point as a level over all places."""
    trace = _mean(curve)
    if len(curve.places) < len(longest) and len(curve.places) == 1:
        values, interval = np.repeat(curve.values, len(longest)), trace.customdata[0]
        return trace.update(x=longest, y=values, customdata=[interval] * len(longest), mode="lines", line_dash="dash")
    if curve.widths is not None:
        trace.error_y = {"array": curve.widths, "thickness": 1.5, "width": 4}
    return trace.update(mode="lines+markers", offsetgroup=str(curve.series))


def _single(curve: Line) -> list[go.Scatter]:
    """The seeds, faintly."""
    return [
        go.Scatter(
            x=places,
            y=values,
            mode="lines",
            line={"color": colour(curve.series, curve.part, curve.parts), "width": 1},
            opacity=0.35,
            offsetgroup=str(curve.series),
            **_behind(curve),
        )
        for places, values in curve.single
    ]


def _band(curve: Line, widths: Array, log: bool) -> go.Scatter:
    """The interval as one area for each stretch in which it is known."""
    low, high = curve.values - widths, curve.values + widths
    if log:  # where there is no zero
        low = np.maximum(low, np.min(curve.values[curve.values > 0], initial=np.inf) / 10)
    known = np.isfinite(low + high)
    stretches = np.split(np.arange(len(low)), np.flatnonzero(np.diff(known)) + 1)  # known and unknown in turn
    x, y = list[Array](), list[Array]()
    for part in (part for part in stretches if known[part].any()):
        x += [curve.places[part], curve.places[part][::-1], np.array([np.nan])]
        y += [high[part], low[part][::-1], np.array([np.nan])]
    return go.Scatter(
        x=np.concatenate(x) if x else [],
        y=np.concatenate(y) if y else [],
        mode="none",
        fill="toself",
        fillcolor=colour(curve.series, curve.part, curve.parts),
        opacity=0.18,
        **_behind(curve),
    )


def _behind(curve: Line) -> dict[str, Any]:
    """What the traces behind a curve have in common: they go with it, and say nothing."""
    return {"legendgroup": str(curve.series), "showlegend": False, "hoverinfo": "skip"}


def _level(name: str, value: Any, places: Any, dash: str = "dash") -> go.Scatter:
    """A dashed line to hold others against."""
    return go.Scatter(
        x=places,
        y=np.broadcast_to(value, len(places)),
        mode="lines",
        line={"color": SOFT, "width": 1.5, "dash": dash},
        name=_shown(name),
        legendgroup=f"level {name}",
        hovertemplate="%{y:.4g}",
    )


def _with_legend(figure: go.Figure, entries: int, plot: int = _PLOT) -> go.Figure:
    """The figure with a legend of so many lines below its axes, which take `plot` pixels with their labels."""
    legend = {"x": 0, "y": 0, "xref": "container", "yref": "container", "xanchor": "left", "yanchor": "bottom"}
    below = 56 + _ROW * entries
    figure.update_layout(
        template=None,
        height=plot + _ROW * entries,
        margin={"l": 8, "r": 20, "t": 34, "b": below},
        legend={**legend, "orientation": "h", "entrywidth": 1, "entrywidthmode": "fraction", "tracegroupgap": 0},
        showlegend=True,
    )
    figure.update_xaxes(automargin=False, title_standoff=8)
    figure.update_yaxes(automargin=True, title_standoff=8)
    return figure


def _heights(curves: Sequence[Line], levels: Mapping[str, float], log: bool) -> list[float]:
    """Ends of the vertical axis at first: all curves, and of the intervals what is not far beyond them."""
    drawn = [curve.values for curve in curves] + [values for curve in curves for _, values in curve.single]
    drawn.append(np.array(list(levels.values()), float))
    if log:
        values = np.concatenate(drawn)
        positive = values[np.isfinite(values) & (values > 0)]
        return _span([np.minimum(values, _FAR * np.median(positive)) if len(positive) else values], log)
    low, high = _span(drawn)
    floor = 0.0 if low >= 0 else -np.inf  # what is never negative has no interval below zero worth showing
    reach = 0.6 * (high - low)
    for curve in curves:
        if curve.widths is not None and np.isfinite(curve.values + curve.widths).any():
            bottom, top = _span([curve.values - curve.widths, curve.values + curve.widths])
            low, high = min(low, max(bottom, low - reach, floor)), max(high, min(top, high + reach))
    return [low, high]


def _span(arrays: Sequence[Array], log: bool = False) -> list[float]:
    """Range of an axis with all finite numbers, on a logarithmic one with the exponents of all positive ones."""
    values = np.concatenate(arrays)
    values = values[np.isfinite(values) & (values > 0 if log else True)]
    values = np.log10(values) if log else values
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return [low - margin, high + margin]


def _shown(name: str, most: int = 44) -> str:
    """A name as Plotly shows it, as text and not as markup; of one longer than `most` letters the two ends."""
    short = name if len(name) <= most else f"{name[: most - 18]}…{name[-17:]}"
    return escape(" ".join(short.split()), quote=False)
