"""What a section of the page is made of: charts, a table, films and pictures, and what is said below them."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from maml_rl.run.report.media import Embedded
from maml_rl.run.report.tables import Table

__all__ = ["Chart", "Picture", "Section"]


class Chart(NamedTuple):
    """A chart under its title, with what is to be said of it."""

    title: str
    figure: go.Figure
    note: str = ""


class Picture(NamedTuple):
    """A film or a picture, its caption and the name of its file."""

    embedded: Embedded
    caption: str
    alt: str


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        title: its heading.
        charts: side by side where there is room.
        table: below them.
        pictures: films and pictures.
        notes: paragraphs below.
    """

    title: str
    charts: Sequence[Chart] = ()
    table: Table | None = None
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
