"""Charts as SVG text that a page carries inline: lines with bands, points before and after, stacked bars.

Colours come from the page's style sheet by class, so that one chart serves light and dark pages. Sizes are in units of
the chart's own picture, which is about as wide as a telephone's screen.
"""

import json
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLOURS", "Line", "Points", "bars", "lines", "sample", "scatter", "short"]

Array = NDArray[np.float64]
COLOURS = 7
_DASHES = ("", "7 3", "2 3")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 300, 54, 390, 30, 256
_APART = 3.0
_SQUARE = 366  # where the square of a scatter chart ends
_MOST_POINTS = 800
_FAR = 1e3  # times the median: where a logarithmic axis ends


class Line(NamedTuple):
    """A curve with its interval and the single ones it is the mean of.

    Attributes:
        series: number of the group; gives colour, dashes and marker.
        name: of the group.
        places: [P].
        values: [P].
        widths: half of the intervals, [P]; None where there are none.
        single: (places, values) of each seed, drawn faintly.
    """

    series: int
    name: str
    places: Array
    values: Array
    widths: Array | None = None
    single: tuple[tuple[Array, Array], ...] = ()


class Points(NamedTuple):
    """Tasks before and after adaptation: the group's number, the run's name, and two numbers a task, each [N]."""

    series: int
    name: str
    before: Array
    after: Array


class _Scale(NamedTuple):
    """From numbers to places in the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, values: Any) -> Array:
        """Places of numbers, of the same shape."""
        low, high, values = self.low, self.high, np.asarray(values, float)
        if self.log:
            low, high = np.log10(low), np.log10(high)
            values = np.log10(np.where(values > 0, values, np.nan))
        return self.start + (values - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers between the ends, about five of them."""
        if not self.log:
            return _round_numbers(self.low, self.high)
        decades = range(int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high))) + 1)
        factors = (1,) if len(decades) > 4 else (1, 2, 5)
        every = max(1, len(decades) // 6)
        found = [factor * 10.0**decade for decade in decades[::every] for factor in factors]
        within = [value for value in found if self.low <= value <= self.high]
        return within if len(within) > 2 else [value for value in _round_numbers(self.low, self.high) if value > 0]


def lines(
    chart: str, curves: Sequence[Line], horizontal: str, vertical: str, log: bool = False, markers: bool = False
) -> str:
    """Curves with 95% bands, and the numbers that the page's script shows under a finger or a mouse.

    Args:
        chart: an id that no other chart of the page has.
        curves: at least one.
        horizontal: label of the horizontal axis, with its unit.
        vertical: label of the vertical axis, with its unit.
        log: whether the vertical axis is logarithmic; every number must then be positive.
        markers: whether the points are marked, with error bars in place of the band.
    """
    drawn = [part for curve in curves for part in ((curve.places, curve.values), *curve.single)]
    across = _Scale(*_span([places for places, _ in drawn]), _LEFT, _RIGHT)
    if not markers:
        across = across._replace(low=min(float(places.min()) for places, _ in drawn if len(places)))
    up = _Scale(*_heights(curves, [values for _, values in drawn], log), _BOTTOM, _TOP, log)
    # Error bars stand a little beside each other, so that none hides another's.
    own = [_beside(across, index - (len(curves) - 1) / 2) if markers else across for index in range(len(curves))]
    inside = "".join(_bars_or_band(curve, place, up, markers) for curve, place in zip(curves, own, strict=True))
    inside += "".join(
        _group(curve.series, f'<path class="faint" d="{_path(place.at(places), up.at(values))}"/>')
        for curve, place in zip(curves, own, strict=True)
        for places, values in (_thinned(*single) for single in curve.single)
    )
    inside += "".join(_curve(curve, place, up, markers) for curve, place in zip(curves, own, strict=True))
    body = (
        f'<clipPath id="{chart}-frame"><rect x="{_LEFT}" y="{_TOP}" width="{_RIGHT - _LEFT}" '
        f'height="{_BOTTOM - _TOP}"/></clipPath>{_axes(across, up, horizontal, vertical, markers)}'
        f'<g clip-path="url(#{chart}-frame)">{inside}<path class="cross" d=""/></g>'
    )
    numbers = {
        "frame": [_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH],
        "ends": [across.low, across.high],
        "across": horizontal,
        "lines": [_numbers(curve) for curve in curves],
    }
    told = f"{vertical} over {horizontal}: {', '.join(curve.name for curve in curves)}"
    content = json.dumps(numbers, allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")
    return f'{_svg(body, told)}<script type="application/json">{content}</script>'


def scatter(runs: Sequence[Points], horizontal: str, vertical: str, log: bool = False) -> str:
    """Each task's number after adaptation over the one before; on the diagonal nothing changed."""
    low, high = _span([values for run in runs for values in (run.before, run.after)], log)
    across = _Scale(low, high, _LEFT, _SQUARE + 20, log)
    up = _Scale(low, high, _SQUARE, _TOP, log)
    inside = f'<path class="diagonal" d="M{across.start} {up.start}L{across.end} {up.end}"/>'
    for run in runs:
        places = zip(across.at(run.before), up.at(run.after), run.before, run.after, strict=True)
        marks = [
            f'<path class="mark" d="{_marker(run.series, x, y, 4.5)}"><title>{escape(run.name)}, task {task}: '
            f"{before:.5g} before, {after:.5g} after</title></path>"
            for task, (x, y, before, after) in enumerate(places)
            if np.isfinite([x, y]).all()
        ]
        inside += _group(run.series, "".join(marks))
    body = _axes(across, up, horizontal, vertical) + inside
    told = f"{vertical} against {horizontal}: {', '.join(run.name for run in runs)}"
    return _svg(body, told, _SQUARE + 44)


def bars(rows: Sequence[tuple[str, dict[str, float]]], parts: Sequence[str], horizontal: str) -> str:
    """A bar for each row, stacked of its parts; a part's place in `parts` gives its colour."""
    most = max(sum(values.values()) for _, values in rows) or 1.0
    across = _Scale(0.0, most * 1.02, 10, _RIGHT)
    bottom = 14 + 46 * len(rows)
    body = _grid_across(across, 10, bottom, horizontal)
    for index, (name, values) in enumerate(rows):
        top, begin = 24 + 46 * index, 0.0
        shown = name if len(name) <= 36 else f"{name[:34]}..."
        body += f'<text x="10" y="{top - 4}">{escape(shown)}: {short(sum(values.values()))} s</text>'
        for part in parts:
            left, right = across.at([begin, begin + values.get(part, 0.0)])
            begin += values.get(part, 0.0)
            share = values.get(part, 0.0) / (sum(values.values()) or 1.0)
            told = f"{escape(name)}: {escape(part)} {values.get(part, 0.0):.3g} s, {share:.0%}"
            body += f'<path class="p{parts.index(part) % COLOURS}" d="M{_at(left)} {top}H{_at(right)}V{top + 22}'
            body += f'H{_at(left)}Z"><title>{told}</title></path>'
    return _svg(body, f"{horizontal}: {', '.join(name for name, _ in rows)}", bottom + 44)


def sample(index: int, square: bool = False) -> str:
    """A small picture of a group's line and marker, or of a part's colour, for a legend."""
    if square:
        body = f'<path class="p{index % COLOURS}" d="M1 2H25V14H1Z"/>'
    else:
        line = f'<path class="mean"{_dashes(index)} d="M0 8H26"/>'
        body = f'<path class="mark" d="{_marker(index, 13, 8, 4.5)}"/>'.join(
            (f'<g class="c{index % COLOURS}">{line}', "</g>")
        )
    return f'<svg class="sample" viewBox="0 0 26 16" aria-hidden="true">{body}</svg>'


def short(value: float) -> str:
    """A number in few characters: 40M, 160k, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e12:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}"


def _svg(body: str, told: str, height: float = _HEIGHT) -> str:
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(told)}">{body}</svg>'


def _group(index: int, body: str) -> str:
    """What the legend switches off and on together."""
    return f'<g class="c{index % COLOURS}" data-series="{index}">{body}</g>'


def _dashes(index: int) -> str:
    dashes = _DASHES[index // COLOURS % len(_DASHES)]
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def _axes(across: _Scale, up: _Scale, horizontal: str, vertical: str, whole: bool = False) -> str:
    """Grid, numbers and labels; `whole` numbers only on the horizontal axis."""
    body = f'<text class="label" x="4" y="16">{escape(vertical)}</text>'
    for value in up.ticks():
        y = float(up.at(value))
        body += f'<path class="grid" d="M{across.start} {_at(y)}H{across.end}"/>'
        body += f'<text class="tick" x="{across.start - 6}" y="{_at(y + 4.5)}" text-anchor="end">{short(value)}</text>'
    return body + _grid_across(across, up.end, up.start, horizontal, whole)


def _grid_across(across: _Scale, top: float, bottom: float, label: str, whole: bool = False) -> str:
    body = f'<path class="axis" d="M{across.start} {bottom}H{across.end}"/>'
    for value in across.ticks():
        if whole and value != round(value):
            continue
        x = _at(float(across.at(value)))
        body += f'<path class="grid" d="M{x} {bottom}V{top}"/>'
        body += f'<text class="tick" x="{x}" y="{bottom + 17}" text-anchor="middle">{short(value)}</text>'
    middle = (across.start + across.end) / 2
    return f'{body}<text class="label" x="{middle}" y="{bottom + 37}" text-anchor="middle">{escape(label)}</text>'


def _curve(curve: Line, across: _Scale, up: _Scale, markers: bool) -> str:
    places, values = _thinned(curve.places, curve.values)
    x, y = across.at(places), up.at(values)
    body = f'<path class="mean"{_dashes(curve.series)} d="{_path(x, y)}"/>'
    if markers:
        marks = [_marker(curve.series, *point, 4.5) for point in zip(x, y, strict=True) if np.isfinite(point).all()]
        body += "".join(f'<path class="mark" d="{mark}"/>' for mark in marks)
    return _group(curve.series, body)


def _beside(scale: _Scale, count: float) -> _Scale:
    return scale._replace(start=scale.start + _APART * count, end=scale.end + _APART * count)


def _bars_or_band(curve: Line, across: _Scale, up: _Scale, markers: bool) -> str:
    if curve.widths is None or not np.isfinite(curve.widths).any():
        return ""
    low, high = curve.values - curve.widths, curve.values + curve.widths
    if up.log:
        low = np.maximum(low, up.low / 10)
    if markers:
        ends = zip(across.at(curve.places), up.at(low), up.at(high), strict=True)
        path = "".join(
            f"M{_at(x)} {_at(bottom)}V{_at(top)}M{_at(x - 4)} {_at(bottom)}h8M{_at(x - 4)} {_at(top)}h8"
            for x, bottom, top in ends
            if np.isfinite([x, bottom, top]).all()
        )
        return _group(curve.series, f'<path class="whisker" d="{path}"/>')
    chosen = np.unique(np.linspace(0, len(low) - 1, _MOST_POINTS // 2).astype(int))
    known = np.isfinite(low[chosen]) & np.isfinite(high[chosen])
    stretches = np.split(chosen, np.flatnonzero(np.diff(known)) + 1)  # alternately all known and all unknown
    path = "".join(
        f"{_path(x, up.at(high[part]))}L{_path(x[::-1], up.at(low[part])[::-1])[1:]}Z"
        for part in stretches
        if np.isfinite(low[part] + high[part]).all()
        for x in [across.at(curve.places[part])]
    )
    return _group(curve.series, f'<path class="band" d="{path}"/>')


def _path(x: Array, y: Array) -> str:
    """The line through the points, broken where a number is missing."""
    known = np.isfinite(x) & np.isfinite(y)
    steps = ["L" if before and now else "M" for before, now in pairwise([False, *known])]
    parts = zip(steps, x, y, known, strict=True)
    return "".join(f"{step}{_at(across)} {_at(up)}" for step, across, up, there in parts if there)


def _marker(index: int, x: float, y: float, size: float) -> str:
    """A circle, square, triangle or diamond."""
    a, b = _at(x), _at(y)
    kind = index % 4
    if kind == 0:
        return f"M{_at(x - size)} {b}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0Z"
    if kind == 1:
        return f"M{_at(x - size * 0.9)} {_at(y - size * 0.9)}h{size * 1.8}v{size * 1.8}h{-size * 1.8}Z"
    if kind == 2:
        return f"M{a} {_at(y - size * 1.2)}L{_at(x + size * 1.1)} {_at(y + size)}H{_at(x - size * 1.1)}Z"
    return f"M{a} {_at(y - size * 1.2)}L{_at(x + size * 1.2)} {b}L{a} {_at(y + size * 1.2)}L{_at(x - size * 1.2)} {b}Z"


def _numbers(curve: Line) -> dict[str, Any]:
    places, values = _thinned(curve.places, curve.values)
    widths = None if curve.widths is None else curve.widths[np.searchsorted(curve.places, places)]
    known = {"x": places, "y": values, **({} if widths is None else {"w": widths})}
    rounded = {
        key: [float(f"{value:.5g}") if np.isfinite(value) else None for value in numbers]
        for key, numbers in known.items()
    }
    return {"series": curve.series, "name": curve.name, **rounded}


def _thinned(places: Array, values: Array) -> tuple[Array, Array]:
    """At most so many points: the lowest and the highest of each stretch, and the two ends."""
    if len(places) <= _MOST_POINTS:
        return places, values
    chosen = {0, len(places) - 1}
    for stretch in np.array_split(np.arange(len(places)), _MOST_POINTS // 2 - 1):
        known = stretch[np.isfinite(values[stretch])]
        if len(known):
            chosen |= {int(known[values[known].argmin()]), int(known[values[known].argmax()])}
    order = sorted(chosen)
    return places[order], values[order]


def _heights(curves: Sequence[Line], drawn: Sequence[Array], log: bool) -> tuple[float, float]:
    """Ends of the vertical axis: all curves, and of the intervals what is not far beyond them."""
    if log:
        return _span([np.minimum(values, _FAR * _middle(drawn)) for values in drawn], log)
    low, high = _span(drawn)
    floor = 0.0 if low >= 0 else -np.inf  # what is never negative has no interval below zero worth showing
    reach = 0.6 * (high - low)
    for curve in curves:
        if curve.widths is not None and np.isfinite(curve.widths).any():
            bottom, top = _span([curve.values - curve.widths, curve.values + curve.widths])
            low, high = min(low, max(bottom, low - reach, floor)), max(high, min(top, high + reach))
    return low, high


def _middle(arrays: Sequence[Array]) -> float:
    """Median of the positive numbers."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.median(values)) if len(values) else np.inf


def _span(arrays: Sequence[Array], log: bool = False) -> tuple[float, float]:
    """Lowest and highest finite number, a little apart."""
    values = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.zeros(0)
    values = values[np.isfinite(values) & (values > 0 if log else True)]
    if not len(values):
        return (0.1, 10.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        factor = max(high / low, 1.5) ** 0.05
        return low / factor, high * factor
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _round_numbers(low: float, high: float, about: int = 5) -> list[float]:
    rough = (high - low) / about
    size = 10.0 ** np.floor(np.log10(rough))
    step = min((factor * size for factor in (1, 2, 5, 10)), key=lambda step: abs(step - rough))
    first = int(np.ceil(low / step - 1e-9))
    return [float(f"{count * step:.12g}") for count in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def _at(value: float) -> str:
    """A place in the picture, to a tenth."""
    return f"{float(value):.1f}".removesuffix(".0")
