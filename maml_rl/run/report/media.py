"""Films and pictures as text that a page can carry inside it."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

__all__ = ["LARGEST", "Embedded", "embed"]

LARGEST = 8 * 1024**2
_ALTOGETHER = 64 * 1024**2
_BEGINNINGS = {".png": (0, b"\x89PNG\r\n\x1a\n", "image/png"), ".gif": (0, b"GIF8", "image/gif"),
               ".mp4": (4, b"ftyp", "video/mp4")}  # fmt: skip


class Embedded(NamedTuple):
    """A file as an element of a page, empty if it is too large or damaged; and what to say of it."""

    element: str
    note: str


def embed(paths: Sequence[Path], largest: int = LARGEST, altogether: int = _ALTOGETHER) -> list[Embedded]:
    """Files in their order; those beyond `largest` bytes, and what then goes beyond `altogether`, are named only."""
    found = []
    for path in paths:
        made = _element(path, min(largest, altogether))
        altogether -= path.stat().st_size if made.element else 0
        found.append(made)
    return found


def _element(path: Path, largest: int) -> Embedded:
    size = path.stat().st_size
    megabytes = f"{size / 1024**2:.1f} MB"
    if size > largest:
        return Embedded("", f"not embedded: {megabytes} is too large for this page")
    offset, beginning, kind = _BEGINNINGS[path.suffix.lower()]
    try:
        content = path.read_bytes()
    except OSError as error:
        return Embedded("", f"not embedded: it cannot be read ({error.strerror})")
    if content[offset : offset + len(beginning)] != beginning:
        return Embedded("", f"not embedded: it is not a {path.suffix.lower()[1:]} file, or damaged")
    source = f'src="data:{kind};base64,{base64.b64encode(content).decode()}"'
    if kind == "video/mp4":
        return Embedded(f"<video controls muted loop playsinline {source}></video>", megabytes)
    return Embedded(f'<img alt="{escape(path.name)}" {source}>', megabytes)
