"""Omniglot: 1623 handwritten characters, 20 drawings each (Lake et al., 2015), by the protocols of MAML and MAML++."""

import os
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from maml_rl.supervised.image_files import cached, decode
from maml_rl.supervised.images import FewShot, ImageClasses
from maml_rl.supervised.task_distribution import Split

__all__ = ["omniglot"]

PARTS = ("images_background", "images_evaluation")
CHARACTERS, DRAWINGS = 1623, 20
SPLITS = {"maml": (1100, 100, 423), "maml_plus_plus": (1150, 50, 423)}
ROTATIONS: dict[str, tuple[Split, ...]] = {"maml": ("train", "validation", "test"), "maml_plus_plus": ("train",)}
# The public archives, https://github.com/brendenlake/omniglot, and the checksums that torchvision has for them.
ADDRESS = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
CHECKSUMS = {
    "images_background": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}


def omniglot(
    folder: str | None = None,
    ways: int = 5,
    protocol: Literal["maml", "maml_plus_plus"] = "maml",
    download: bool = False,
    split_seed: int = 1,
    size: int = 28,
) -> FewShot:
    """N-way tasks of Omniglot characters, ink 1 on 0.

    The characters are shuffled with `split_seed` and cut into 1100 for training, 100 for validation and 423 for
    testing, turned by a multiple of 90 degrees in every split (protocol "maml", Finn et al., 2017); or into 1150, 50
    and 423, turned in training only (protocol "maml_plus_plus", Antoniou et al., 2018).

    Args:
        folder: with ``images_background`` and ``images_evaluation``, as folders or as zip archives.
        ways: classes of a task.
        protocol: see above.
        download: fetches the public archives into the folder if they are not there.
        split_seed: of the shuffle.
        size: height and width.

    Raises:
        ValueError: the data are missing, incomplete or damaged, or an argument is impossible.
    """
    if protocol not in SPLITS:
        raise ValueError(f"`protocol` must be one of {', '.join(SPLITS)}, got {protocol!r}.")
    images = _all_images(_located(folder, download), size)
    order = np.random.default_rng(split_seed).permutation(CHARACTERS)
    names: tuple[Split, ...] = ("train", "validation", "test")
    pieces = np.split(order, np.cumsum(SPLITS[protocol])[:-1])
    return FewShot(images, dict(zip(names, pieces, strict=True)), ways, ROTATIONS[protocol])


def _located(folder: str | None, download: bool) -> list[Path]:
    place = Path(folder or os.environ.get("MAML_RL_OMNIGLOT") or (_default_folder() if download else ""))
    if not folder and place == Path():
        raise ValueError("say where the images are: --data FOLDER with images_background and images_evaluation.")
    sources: list[Path] = []
    for part in PARTS:
        candidates = [place / part, place / f"{part}.zip"]
        there = [path for path in candidates if path.exists()]
        if not there and not download:
            raise ValueError(f"{place} has neither {part} nor {part}.zip.")
        sources.append(there[0] if there else _downloaded(part, place))
    return sources


def _default_folder() -> Path:
    return Path.home() / ".cache" / "maml_rl" / "omniglot"


def _downloaded(part: str, place: Path) -> Path:
    try:
        import pooch
    except ImportError:
        raise ValueError("downloading needs the extra 'download': pip install 'maml_rl[download]'.") from None
    try:
        name = f"{part}.zip"
        kept: Any = pooch.retrieve(f"{ADDRESS}/{name}", CHECKSUMS[part], fname=name, path=place)
    except Exception as error:  # whatever the network and the checksum say
        raise ValueError(f"{part} could not be downloaded: {' '.join(str(error).split())}") from error
    return Path(kept)


def _all_images(sources: list[Path], size: int) -> ImageClasses:
    parts = []
    for source, part in zip(sources, PARTS, strict=True):
        make = lambda source=source: decode(source, size, 1, _character, invert=True)  # noqa: E731
        parts.append(cached(source, f"omniglot {part} {size}", make))
    counts = np.concatenate([part.counts for part in parts])
    names = [name for part in parts for name in part.names]
    if len(names) != CHARACTERS or (counts != DRAWINGS).any():
        raise ValueError(
            f"Omniglot has {CHARACTERS} characters with {DRAWINGS} drawings each, found {len(names)} characters and "
            f"{counts.sum()} drawings in {sources[0].parent}."
        )
    return ImageClasses(np.concatenate([part.pixels for part in parts]), counts, names)


def _character(path: PurePosixPath) -> str:
    """alphabet/character, of .../alphabet/characterNN/NNNN_MM.png."""
    return "/".join(path.parts[-3:-1])
