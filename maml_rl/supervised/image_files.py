"""Image files of folders and zip archives, decoded once into a compact array and cached."""

import contextlib
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from maml_rl.supervised.images import ImageClasses

__all__ = ["cached", "decode", "entries"]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm")
_FORMAT = 2
_DAMAGED = (OSError, ValueError, KeyError, EOFError, SyntaxError, RuntimeError, zipfile.BadZipFile, zlib.error,
            Image.DecompressionBombError)  # fmt: skip


def entries(source: Path) -> "dict[str, Callable[[], bytes]]":
    """Image files below a folder or in a zip archive: path within it -> how to read it.

    Raises:
        ValueError: neither a folder nor an archive, or one without images.
    """
    if source.is_dir():
        files = {
            path.relative_to(source).as_posix(): path.read_bytes
            for path in sorted(source.rglob("*"))
            if path.suffix.lower() in ENDINGS
        }
    elif zipfile.is_zipfile(source):
        try:
            archive = zipfile.ZipFile(source)
        except _DAMAGED as error:
            raise ValueError(f"{source} is damaged: {error}.") from error
        names = sorted(name for name in archive.namelist() if PurePosixPath(name).suffix.lower() in ENDINGS)
        files = {name: partial(archive.read, name) for name in names if "__MACOSX" not in name}
    else:
        raise ValueError(f"{source} is neither a folder nor a readable zip archive.")
    if not files:
        raise ValueError(f"there are no images ({', '.join(ENDINGS)}) in {source}.")
    return files


def decode(
    source: Path, size: int, channels: int, class_of: Callable[[PurePosixPath], str], invert: bool = False
) -> ImageClasses:
    """Reads, resizes (Lanczos) and stacks all images below `source`, classes and files in the order of their names.

    Args:
        source: a folder or a zip archive.
        size: height and width wanted.
        channels: 1 for grey, 3 for colour.
        class_of: the name of the class that a file belongs to.
        invert: whether 255 becomes 0.

    Raises:
        ValueError: no images, or one that is damaged.
    """
    if size < 1:
        raise ValueError(f"`size` must be at least 1, got {size}.")
    files = sorted(entries(source).items(), key=lambda item: (class_of(PurePosixPath(item[0])), item[0]))
    mode = {1: "L", 3: "RGB"}[channels]

    def read(item: "tuple[str, Callable[[], bytes]]") -> NDArray[np.uint8]:
        name, content = item
        try:
            # A 1-bit image would be resized to the nearest pixel, whatever is asked for: grey first.
            with Image.open(io.BytesIO(content())) as image:
                pixels = np.asarray(image.convert(mode).resize((size, size), Image.Resampling.LANCZOS))
        except _DAMAGED as error:
            raise ValueError(f"image {name} of {source} is damaged: {error}.") from error
        return pixels.reshape(size, size, channels)

    with tqdm(files, desc=f"decoding {source.name}", leave=False) as bar:
        pixels = np.stack([read(item) for item in bar])
    classes = [class_of(PurePosixPath(name)) for name, _ in files]
    names, counts = np.unique(classes, return_counts=True)
    return ImageClasses(255 - pixels if invert else pixels, counts.astype(np.int64), names.tolist())


def cached(source: Path, key: str, make: Callable[[], ImageClasses], cache: Path | None = None) -> ImageClasses:
    """What `make` returns, kept in a file that is made anew when the source changes.

    Args:
        source: what the images come from.
        key: everything else that they depend on.
        make: decodes them.
        cache: the folder of the files; MAML_RL_CACHE or ~/.cache/maml_rl where nothing is given.
    """
    folder = cache or Path(os.environ.get("MAML_RL_CACHE") or Path.home() / ".cache" / "maml_rl")
    digest = hashlib.sha256("\n".join([str(_FORMAT), key, *_fingerprint(source)]).encode()).hexdigest()[:20]
    path = folder / f"images-{digest}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            kept = ImageClasses(stored["pixels"], stored["counts"], stored["names"].tolist())
            if str(stored["digest"]) == _digest(kept):
                return kept
    except Exception:  # none there, or one that is damaged, in whatever way numpy finds it so: it is made anew
        pass
    images = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npz")
        np.savez_compressed(
            unfinished, pixels=images.pixels, counts=images.counts, names=np.array(images.names), digest=_digest(images)
        )
        unfinished.replace(path)
    except OSError:  # a cache that cannot be written costs time only
        with contextlib.suppress(OSError):
            path.with_suffix(f".{os.getpid()}.npz").unlink(missing_ok=True)
    return images


def _digest(images: ImageClasses) -> str:
    content = hashlib.sha256(np.ascontiguousarray(images.pixels).tobytes())
    content.update(f"{images.pixels.shape} {images.counts.tolist()} {images.names}".encode())
    return content.hexdigest()


def _fingerprint(source: Path) -> Iterator[str]:
    """Names, sizes and times: changes when a file does."""
    yield str(source.resolve())
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    for path in files:
        if path.is_file():
            status = path.stat()
            yield f"{path.relative_to(source) if path != source else path.name} {status.st_size} {status.st_mtime_ns}"
