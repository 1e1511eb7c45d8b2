"""The picture of a grid with two colours: the agent, its way here, the items and what each is worth now."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["picture"]

_BLUE, _RED = "#1f77b4", "#d62728"


def picture(
    cells: NDArray[np.int64], time: int, blue_reward: float, steps_to_swap: int, size: int, width: int = 480
) -> NDArray[np.uint8]:
    """The agent as a dark disc with its last steps behind it, the items as squares with their rewards.

    Args:
        cells: of the agent, the blue and the red item in the latest states, [t, 3].
        time: step of the last state.
        blue_reward: what the blue item is worth now.
        steps_to_swap: steps until that changes.
        size: rows and columns of the grid.
        width: of the picture, and its height.

    Returns:
        [width, width, 3].
    """
    image = Image.new("RGB", (width, width), "white")
    draw = ImageDraw.Draw(image)
    top, side = 48, (width - 56) / size
    left = (width - size * side) / 2

    def centre(cell: int) -> tuple[float, float]:
        return left + (cell % size + 0.5) * side, top + (cell // size + 0.5) * side

    draw.text((left, 8), f"step {time:,}", "#333333", ImageFont.load_default(16))
    draw.text((left, 27), f"rewards swap in {steps_to_swap:,} steps", "#777777", ImageFont.load_default(13))
    for line in range(size + 1):
        at = line * side
        draw.line([(left, top + at), (left + size * side, top + at)], fill="#cccccc")
        draw.line([(left + at, top), (left + at, top + size * side)], fill="#cccccc")
    way = [centre(int(cell)) for cell in cells[:, 0]]
    if len(way) > 1:
        draw.line(way, fill="#bbbbbb", width=3)
    for cell, colour, worth in ((cells[-1, 1], _BLUE, blue_reward), (cells[-1, 2], _RED, -blue_reward)):
        x, y = centre(int(cell))
        half = 0.36 * side
        draw.rectangle((x - half, y - half, x + half, y + half), fill=colour)
        draw.text((x, y), f"{worth:+g}", "white", ImageFont.load_default(max(8, 0.3 * side)), anchor="mm")
    x, y = way[-1]
    radius = 0.26 * side
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#333333")
    return np.asarray(image)
