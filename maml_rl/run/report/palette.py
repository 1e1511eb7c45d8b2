"""Colours, dashes and signs of the charts' groups, and the grounds that they stand on."""

from typing import Any

import plotly.graph_objects as go
import plotly.io
from plotly.colors import sample_colorscale

__all__ = ["SOFT", "colour", "dash", "level_dash", "marker", "templates"]

# Three times as bright or as dark as the page at least, on light and on dark ground.
_COLOURS = ("#1f83c9", "#d9622b", "#0a9a72", "#c65fa0", "#9a7b10", "#8e6fd1", "#7f8791")
_ORDERED = ("#1f83c9", "#8e6fd1", "#c65fa0", "#d9622b")  # for curves in an order
_DASHES = ("solid", "dash", "dot")
_SYMBOLS = ("circle", "square", "triangle-up", "diamond")
SOFT = "#7f8791"


def colour(series: int, part: int = 0, parts: int = 1) -> str:
    """Of a group by its number, or of one of several curves that the group has, by its place among them."""
    if parts == 1:
        return _COLOURS[series % len(_COLOURS)]
    return str(sample_colorscale(_ORDERED, part / (parts - 1))[0])


def dash(series: int, parts: int = 1) -> str:
    """Of a group by its number: another one where colours begin anew, or say which of several curves it is."""
    return _DASHES[(series // len(_COLOURS) if parts == 1 else series) % len(_DASHES)]


def level_dash(index: int) -> str:
    """Of a level by its number, never a solid line."""
    return _DASHES[1 + index % 2]


def marker(series: int, part: int = 0, parts: int = 1) -> dict[str, Any]:
    """The sign of a group, in the colour of the curve."""
    return {"color": colour(series, part, parts), "symbol": _SYMBOLS[series % len(_SYMBOLS)]}


def templates() -> dict[str, Any]:
    """Plotly's templates on the grounds of a light and of a dark page, as plain values."""
    result = {}
    for scheme, name, ground in (("light", "plotly_white", "#f5f7f9"), ("dark", "plotly_dark", "#1b2128")):
        template = go.layout.Template(plotly.io.templates[name])
        template.layout.update(paper_bgcolor=ground, plot_bgcolor=ground, font={"family": "inherit"})
        template.layout.hoverlabel = {"bgcolor": ground, "namelength": -1}
        template.layout.modebar = {"bgcolor": ground, "color": SOFT, "activecolor": _COLOURS[0]}
        result[scheme] = template.to_plotly_json()
    return result
