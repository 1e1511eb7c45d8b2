"""Films and pictures as text that a page can carry inside it."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from maml_rl.run.schedules import PICTURE

__all__ = ["LARGEST", "Embedded", "embed", "pictures_in"]

LARGEST = 8 * 1024**2
_ALTOGETHER = 64 * 1024**2
_FORMATS = {
    ".png": (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    ".gif": (0, b"GIF8", "image/gif"),
    ".mp4": (4, b"ftyp", "video/mp4"),
}


_OWN_PICTURES = ("adaptation.png", "learning.png", PICTURE)
_OTHER_FOLDERS = ("checkpoints", "tensorboard")


class Embedded(NamedTuple):
    """A file inside a page.

    Attributes:
        media_type: such as "image/png"; empty where the file is too large or damaged.
        source: its content as a data URL; empty as well.
        note: its size, or why it is not embedded.
    """

    media_type: str
    source: str
    note: str


def embed(paths: Sequence[Path], largest: int = LARGEST, altogether: int = _ALTOGETHER) -> list[Embedded]:
    """Files in their order; those beyond `largest` bytes, and what then goes beyond `altogether`, are named only."""
    result = []
    for path in paths:
        embedded = _embedded(path, min(largest, altogether))
        altogether -= path.stat().st_size if embedded.source else 0
        result.append(embedded)
    return result


def pictures_in(folder: Path) -> list[Path]:
    """Films and pictures in the folder and in its subfolders that are no runs of their own, without our own charts."""
    inner = [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name not in _OTHER_FOLDERS and not (path / "config.yaml").exists()
    ]
    return [
        path
        for place in (folder, *inner)
        for path in sorted(place.iterdir())
        if path.suffix.lower() in _FORMATS and path.name not in _OWN_PICTURES and path.is_file()
    ]


def _embedded(path: Path, largest: int) -> Embedded:
    size = path.stat().st_size
    megabytes = f"{size / 1024**2:.1f} MB"
    if size > largest:
        return Embedded("", "", f"not embedded: {megabytes} is too large for this page")
    offset, beginning, media_type = _FORMATS[path.suffix.lower()]
    try:
        content = path.read_bytes()
    except OSError as error:
        return Embedded("", "", f"not embedded: it cannot be read ({error.strerror})")
    if content[offset : offset + len(beginning)] != beginning:
        return Embedded("", "", f"not embedded: it is not a {path.suffix.lower()[1:]} file, or damaged")
    return Embedded(media_type, f"data:{media_type};base64,{base64.b64encode(content).decode()}", megabytes)
