"""Arrays as text, for checkpoints: their shapes need not be known before they are read."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["array_text", "arrays_of_text"]


def array_text(arrays: Mapping[str, NDArray[Any]]) -> str:
    """JSON of each array's type, shape and bytes, little-endian and in base64."""
    content = {}
    for name, array in arrays.items():
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        content[name] = [plain.dtype.str, list(array.shape), base64.b64encode(plain.tobytes()).decode()]
    return json.dumps(content)


def arrays_of_text(text: str) -> dict[str, NDArray[Any]]:
    """The arrays that `array_text` wrote.

    Raises:
        ValueError: the text is damaged.
    """
    try:
        return {
            name: np.frombuffer(base64.b64decode(words, validate=True), dtype).reshape(shape).copy()
            for name, (dtype, shape, words) in json.loads(text).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"what a checkpoint says of environments is damaged: {error}") from error
