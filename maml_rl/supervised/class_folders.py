"""Few-shot tasks from any set of images kept in a folder for each class, mini-ImageNet among them."""

from pathlib import Path, PurePosixPath
from typing import cast, get_args

import numpy as np

from maml_rl.supervised.image_files import cached, decode
from maml_rl.supervised.images import FewShot, ImageClasses
from maml_rl.supervised.task_distribution import Split

__all__ = ["class_folders", "mini_imagenet"]

_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}


def class_folders(
    folder: str | None = None,
    ways: int = 5,
    size: int = 84,
    channels: int = 3,
    rotations: bool = False,
    shares: tuple[float, float, float] | None = (0.64, 0.16, 0.2),
    split_seed: int = 1,
) -> FewShot:
    """N-way tasks of the images in `folder`.

    Where it holds ``train``, ``val`` (or ``validation``) and ``test``, those are the splits and what is in them are
    the classes. Otherwise every folder that holds images is a class, and the classes are shuffled and shared out.

    Args:
        folder: the images; folders within it are classes. A zip archive of the same shape will do.
        ways: classes of a task.
        size: height and width that images are resized to.
        channels: 1 for grey, 3 for colour.
        rotations: whether training classes are turned by a multiple of 90 degrees.
        shares: of the classes for training, validation and testing, where the folders do not say; None if they must.
        split_seed: of the shuffle.

    Raises:
        ValueError: the data are missing or damaged, or an argument is impossible.
    """
    if folder is None:
        raise ValueError("say where the images are: --data FOLDER with a folder for each class.")
    if channels not in (1, 3):
        raise ValueError(f"`channels` must be 1 or 3, got {channels}.")
    source = Path(folder)
    images = cached(
        source,
        f"class folders {size} {channels}",
        lambda: decode(source, size, channels, lambda path: str(path.parent)),
    )
    if "." in images.names:
        raise ValueError(f"images must lie in folders, one for each class, but some lie in {folder} itself.")
    splits = _told(images) or _shuffled(len(images.names), shares, split_seed)
    return FewShot(images, splits, ways, ("train",) if rotations else ())


def mini_imagenet(folder: str | None = None, ways: int = 5, size: int = 84) -> FewShot:
    """Mini-ImageNet (Ravi and Larochelle, 2017): 64, 16 and 20 classes in ``train``, ``val`` and ``test``, 84 x 84."""
    return class_folders(folder, ways, size, shares=None)


def _told(images: ImageClasses) -> dict[Split, np.ndarray] | None:
    """The splits that the folders' names say; None if they say nothing.

    Raises:
        ValueError: they say it of some classes only, or a split has none.
    """
    splits: dict[Split, np.ndarray] = {}
    for split, names in _NAMES.items():
        inside = [i for i, name in enumerate(images.names) if _split_folder(name) in names]
        splits[split] = np.array(inside, np.int64)
    told = {index for inside in splits.values() for index in inside}
    if not told:
        return None
    lost = [name for index, name in enumerate(images.names) if index not in told]
    if lost:
        raise ValueError(f"there are folders for the splits, but {lost[0]!r} lies in none of them.")
    empty = [split for split, inside in splits.items() if not len(inside)]
    if empty:
        raise ValueError(
            f"there are folders for the splits, but none for {empty[0]} ({' or '.join(_NAMES[empty[0]])})."
        )
    return splits


def _split_folder(name: str) -> str | None:
    """The outermost folder on the way to a class that is called like a split."""
    known = {name for names in _NAMES.values() for name in names}
    return next((part for part in PurePosixPath(name).parts[:-1] if part in known), None)


def _shuffled(classes: int, shares: tuple[float, float, float] | None, seed: int) -> dict[Split, np.ndarray]:
    if shares is None:
        raise ValueError("there must be a folder for each split: train, val and test.")
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"`shares` must be three numbers of at least 0 with sum 1, got {list(shares)}.")
    order = np.random.default_rng(seed).permutation(classes)
    ends = np.round(np.cumsum(shares)[:2] * classes).astype(int)
    names = cast(tuple[Split, ...], get_args(Split))
    return dict(zip(names, np.split(order, ends), strict=True))
