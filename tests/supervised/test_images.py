"""Images by class: decoding, caching, splits, rotations and the one gather, against plain readings of the files."""

import hashlib
import os
import shutil
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl.supervised import omniglot
from maml_rl.supervised.class_folders import class_folders, mini_imagenet
from maml_rl.supervised.image_files import cached, decode
from maml_rl.supervised.images import FewShot, ImageClasses

REAL = os.environ.get("MAML_RL_OMNIGLOT")
needs_omniglot = pytest.mark.skipif(not REAL, reason="MAML_RL_OMNIGLOT names no folder with the real images")


def _made(counts: tuple[int, ...] = (4, 3, 5, 4), size: int = 6, channels: int = 1) -> ImageClasses:
    """Every image has pixels of its own: class * 40 + image * 5 + a pattern."""
    pixels = []
    for index, count in enumerate(counts):
        for image in range(count):
            pattern = np.arange(size * size * channels).reshape(size, size, channels) % 5
            pixels.append(index * 40 + image * 5 + pattern)
    return ImageClasses(np.stack(pixels).astype(np.uint8), np.array(counts), [f"class{k}" for k in range(len(counts))])


def _everywhere(classes: int) -> dict[str, np.ndarray]:
    return {split: np.arange(classes) for split in ("train", "validation", "test")}


def _folder(path: Path, classes: int = 6, images: int = 3, split: bool = False, size: int = 20) -> Path:
    rng = np.random.default_rng(0)
    for index in range(classes):
        part = ("train", "val", "test")[index % 3] if split else ""
        (path / part / f"class{index}").mkdir(parents=True)
        for image in range(images):
            pixels = rng.integers(0, 255, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path / part / f"class{index}" / f"{image}.png")
    return path


def test_tasks_hold_the_images_they_name() -> None:
    images = _made()
    tasks = FewShot(images, _everywhere(4), 3, ()).sample(np.random.default_rng(0), 50, 1, 2, "train")
    assert tasks.support.inputs.shape == (50, 3, 1, 6, 6)
    assert tasks.query.inputs.shape == (50, 6, 1, 6, 6)
    assert tasks.support.targets[0].tolist() == [0, 1, 2]
    assert tasks.query.targets[0].tolist() == [0, 0, 1, 1, 2, 2]
    starts = np.concatenate([[0], np.cumsum(images.counts)[:-1]])
    seen = set()
    for task in range(50):
        chosen = tasks.parameters["classes"][task]
        assert len(set(chosen)) == 3
        for way, index in enumerate(chosen):
            parts = [tasks.support.inputs[task, way : way + 1], tasks.query.inputs[task, 2 * way : 2 * way + 2]]
            matches = []
            for picture in torch.cat(parts):
                pixels = (picture[0] * 255).round().numpy().astype(np.uint8)
                own = images.pixels[starts[index] : starts[index] + images.counts[index], :, :, 0]
                (match,) = np.flatnonzero((own == pixels).all((1, 2)))
                matches.append(match)
            assert len(set(matches)) == 3  # support and query never share an image
            seen |= {(index, each) for each in matches}
    assert len(seen) == sum(images.counts)  # and every image has its turn


def test_rotations_turn_whole_classes_in_their_splits_only() -> None:
    images = _made(size=5)
    distribution = FewShot(images, _everywhere(4), 2, ("train",))
    tasks = distribution.sample(np.random.default_rng(1), 40, 1, 1, "train")
    starts = np.concatenate([[0], np.cumsum(images.counts)[:-1]])
    for task in range(40):
        for way in range(2):
            index, turns = tasks.parameters["classes"][task, way], tasks.parameters["turns"][task, way]
            own = images.pixels[starts[index] : starts[index] + images.counts[index], :, :, 0]
            turned = np.rot90(own, turns, (1, 2))
            for part in (tasks.support, tasks.query):
                pixels = (part.inputs[task, way, 0] * 255).round().numpy().astype(np.uint8)
                assert (turned == pixels).all((1, 2)).sum() == 1
    assert set(tasks.parameters["turns"].ravel()) == {0, 1, 2, 3}
    assert not distribution.sample(np.random.default_rng(1), 40, 1, 1, "test").parameters["turns"].any()


def test_the_same_generator_gives_the_same_tasks() -> None:
    distribution = FewShot(_made(channels=3), _everywhere(4), 2, ("train",))
    first, second = (distribution.sample(np.random.default_rng(5), 4, 1, 1, "train") for _ in range(2))
    assert torch.equal(first.support.inputs, second.support.inputs)
    assert first.support.inputs.shape == (4, 2, 3, 6, 6)
    other = distribution.sample(np.random.default_rng(6), 4, 1, 1, "train")
    assert not torch.equal(first.support.inputs, other.support.inputs)


def test_impossible_tasks_are_refused() -> None:
    images = _made()
    with pytest.raises(ValueError, match="5-way tasks need 5 classes, the train split has 4"):
        FewShot(images, _everywhere(4), 5)
    with pytest.raises(ValueError, match="whole number of at least 2"):
        FewShot(images, _everywhere(4), 1)
    with pytest.raises(ValueError, match="class class1 has 3"):
        FewShot(images, _everywhere(4), 2).sample(np.random.default_rng(0), 1, 2, 2, "train")
    oblong = images._replace(pixels=images.pixels[:, :, :4])
    with pytest.raises(ValueError, match="square"):
        FewShot(oblong, _everywhere(4), 2, ("train",))


def test_class_folders_are_read_resized_and_shared_out(tmp_path: Path) -> None:
    source = _folder(tmp_path / "data", classes=10)
    distribution = class_folders(str(source), ways=2, size=8)
    tasks = distribution.sample(np.random.default_rng(0), 3, 1, 2, "test")
    assert tasks.support.inputs.shape == (3, 2, 3, 8, 8)
    with Image.open(source / "class0" / "0.png") as image:
        expected = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.LANCZOS))
    decoded = decode(source, 8, 3, lambda path: str(path.parent))
    assert (decoded.pixels[0] == expected).all()
    assert decoded.counts.tolist() == [3] * 10
    sizes = [len(classes) for classes in distribution._splits.values()]
    assert sizes == [6, 2, 2]
    assert sorted(np.concatenate(list(distribution._splits.values()))) == list(range(10))


def test_folders_named_after_splits_are_the_splits(tmp_path: Path) -> None:
    source = _folder(tmp_path / "data", classes=9, split=True)
    distribution = mini_imagenet(str(source), ways=3, size=16)
    names = np.array(distribution._names)
    for split, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert {name.split("/")[0] for name in names[distribution._splits[split]]} == {folder}  # type: ignore[index]
    for stray, told in (("preview.png", "some lie in .* itself"), ("more/class0/0.png", "lies in none of them")):
        (source / stray).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next((source / "train").rglob("*.png")), source / stray)
        with pytest.raises(ValueError, match=told):
            class_folders(str(source), ways=3, size=16)
        (source / stray).unlink()
    shutil.rmtree(source / "val")
    with pytest.raises(ValueError, match=r"none for validation \(validation or val or valid\)"):
        mini_imagenet(str(source), ways=3, size=16)
    with pytest.raises(ValueError, match="a folder for each split"):
        mini_imagenet(str(source / "train"), ways=3, size=16)


def test_an_archive_gives_what_its_folder_gives(tmp_path: Path) -> None:
    source = _folder(tmp_path / "data")
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(source.rglob("*.png")):
            file.write(path, path.relative_to(source))
    first, second = (decode(each, 8, 1, lambda path: str(path.parent)) for each in (source, archive))
    assert (first.pixels == second.pixels).all()
    assert first.names == second.names


def test_decoded_images_are_cached_until_the_files_change(tmp_path: Path) -> None:
    source, calls = _folder(tmp_path / "data"), []

    def make() -> ImageClasses:
        calls.append(1)
        return decode(source, 8, 1, lambda path: str(path.parent))

    first = cached(source, "key", make, tmp_path / "cache")
    second = cached(source, "key", make, tmp_path / "cache")
    assert len(calls) == 1
    assert (first.pixels == second.pixels).all()
    assert first.names == second.names
    (stored,) = (tmp_path / "cache").iterdir()
    stored.write_bytes(stored.read_bytes()[:100])  # a damaged cache is made anew
    assert (cached(source, "key", make, tmp_path / "cache").pixels == first.pixels).all()
    (source / "class0" / "0.png").unlink()
    assert len(cached(source, "key", make, tmp_path / "cache").pixels) == len(first.pixels) - 1
    assert len(calls) == 3


def test_damage_anywhere_in_an_archive_or_in_the_cache_is_no_crash(tmp_path: Path) -> None:
    source = _folder(tmp_path / "data", classes=4)
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", source)).read_bytes()
    rng, refused = np.random.default_rng(0), list[str]()
    for attempt in range(120):
        broken = bytearray(whole)
        for place in rng.integers(len(broken), size=4):
            broken[place] = rng.integers(256)
        path = tmp_path / f"broken{attempt}.zip"
        path.write_bytes(broken)
        try:
            decode(path, 16, 1, lambda name: str(name.parent))
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("damaged" in told or "readable zip" in told or "no images" in told for told in refused)
    made = lambda: decode(source, 16, 1, lambda name: str(name.parent))  # noqa: E731
    expected = cached(source, "key", made, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.npz")
    content = kept.read_bytes()
    for _ in range(400):
        broken = bytearray(content)
        for place in rng.integers(len(broken), size=4):
            broken[place] = rng.integers(256)
        kept.write_bytes(broken)
        images = cached(source, "key", made, tmp_path / "cache")
        assert np.array_equal(images.pixels, expected.pixels)
        assert images.counts.tolist() == expected.counts.tolist()
        assert images.names == expected.names


def test_missing_and_damaged_data_are_named(tmp_path: Path) -> None:
    source = _folder(tmp_path / "data")
    (source / "class0" / "0.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"class0/0\.png .* is damaged"):
        class_folders(str(source), ways=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        class_folders(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="neither a folder nor a readable zip"):
        class_folders(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="--data FOLDER"):
        class_folders()
    with pytest.raises(ValueError, match="has neither images_background"):
        omniglot.omniglot(str(tmp_path))
    _folder(tmp_path / "few" / "images_background" / "alphabet", classes=2)
    _folder(tmp_path / "few" / "images_evaluation" / "alphabet", classes=2)
    with pytest.raises(ValueError, match="found 4 characters and 12 drawings"):
        omniglot.omniglot(str(tmp_path / "few"))
    with pytest.raises(ValueError, match="`protocol` must be one of"):
        omniglot.omniglot(str(tmp_path), protocol="mine")  # type: ignore[arg-type]


def test_archives_are_downloaded_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch")
    (tmp_path / "site").mkdir()
    content = b"an archive"
    for part in omniglot.PARTS:
        (tmp_path / "site" / f"{part}.zip").write_bytes(content)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    right = f"md5:{hashlib.md5(content).hexdigest()}"
    monkeypatch.setattr(omniglot, "CHECKSUMS", {omniglot.PARTS[0]: right, omniglot.PARTS[1]: "md5:" + "0" * 32})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(omniglot, "ADDRESS", f"http://127.0.0.1:{server.server_port}")
        try:
            kept = omniglot._downloaded(omniglot.PARTS[0], tmp_path / "here")
            assert kept.read_bytes() == content
            with pytest.raises(ValueError, match="images_evaluation could not be downloaded: MD5 hash"):
                omniglot._downloaded(omniglot.PARTS[1], tmp_path / "here")
            assert not (tmp_path / "here" / "images_evaluation.zip").exists()
        finally:
            server.shutdown()
            thread.join()
    monkeypatch.setattr(omniglot, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="images_evaluation could not be downloaded"):
        omniglot._downloaded(omniglot.PARTS[1], tmp_path / "here")


@needs_omniglot
@pytest.mark.parametrize(
    ("protocol", "sizes", "turned"),
    [("maml", [1100, 100, 423], {"train", "validation", "test"}), ("maml_plus_plus", [1150, 50, 423], {"train"})],
)
def test_the_protocols_of_omniglot(protocol: str, sizes: list[int], turned: set[str]) -> None:
    distribution = omniglot.omniglot(REAL, ways=5, protocol=protocol)  # type: ignore[arg-type]
    splits = distribution._splits
    assert [len(classes) for classes in splits.values()] == sizes
    assert sorted(np.concatenate(list(splits.values()))) == list(range(1623))
    for split in splits:
        turns = distribution.sample(np.random.default_rng(0), 50, 1, 1, split).parameters["turns"]
        assert (len(np.unique(turns)) == 4) == (split in turned)


@needs_omniglot
def test_a_drawing_of_omniglot_is_that_of_its_file() -> None:
    assert REAL is not None
    source = Path(REAL) / "images_background.zip"
    with zipfile.ZipFile(source) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        with archive.open(names[0]) as file, Image.open(file) as image:
            grey = np.asarray(image.convert("L").resize((28, 28), Image.Resampling.LANCZOS))
    distribution = omniglot.omniglot(REAL)
    stored = distribution._pixels[0].reshape(28, 28).numpy()
    assert (stored == 255 - grey).all()
    assert distribution._names[0] == "Alphabet_of_the_Magi/character01"
    share = float(distribution._pixels.to(torch.float32).mean() / 255)
    assert 0.02 < share < 0.2  # ink is 1, and there is little of it
