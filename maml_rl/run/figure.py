"""Figures without a screen: one place that makes them and one that saves them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maml_rl.run.errors import RunFault

__all__ = ["save_figure"]


def save_figure(draw: Callable[[Any], None], size: tuple[float, float], path: Path) -> Path:
    """Lets `draw` fill a figure of `size` inches and writes it to `path`.

    Raises:
        RunFault: the file cannot be written.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise RunFault(f"{path} could not be written: {error.strerror or error}") from error
    return path
