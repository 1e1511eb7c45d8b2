"""Images by class as one compact array, and few-shot classification tasks drawn from it in one gather."""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.supervised.losses import Problem
from maml_rl.supervised.task_distribution import Labelled, Split, TaskBatch

__all__ = ["FewShot", "ImageClasses"]


class ImageClasses(NamedTuple):
    """All images, class after class.

    Attributes:
        pixels: uint8 [images, height, width, channels].
        counts: images of each class, [C]; `pixels` holds them in this order.
        names: of the classes.
    """

    pixels: NDArray[np.uint8]
    counts: NDArray[np.int64]
    names: list[str]


class FewShot:
    """N-way classification: classes of a split, `support` and `query` different images of each.

    Args:
        images: all of them.
        splits: indices of the classes of each split.
        ways: classes of a task.
        rotations: the splits whose classes are turned by 0, 90, 180 or 270 degrees, drawn for each class and task.

    Raises:
        ValueError: a split with fewer classes than `ways`, or rotations of images that are not square.
    """

    problem: Problem = "classification"

    def __init__(
        self,
        images: ImageClasses,
        splits: dict[Split, NDArray[np.int64]],
        ways: int,
        rotations: tuple[Split, ...] = (),
    ) -> None:
        count, height, width, channels = images.pixels.shape
        if not isinstance(ways, int) or ways < 2:
            raise ValueError(f"`ways` must be a whole number of at least 2, got {ways!r}.")
        for name, classes in splits.items():
            if len(classes) < ways:
                raise ValueError(f"{ways}-way tasks need {ways} classes, the {name} split has {len(classes)}.")
        if rotations and height != width:
            raise ValueError(f"only square images can be rotated, these are {height} x {width}.")
        self.outputs, self.input_shape = ways, (channels, height, width)
        self._splits, self._rotations = splits, rotations
        self._counts, self._names = images.counts, images.names
        self._starts = np.concatenate([[0], np.cumsum(images.counts)[:-1]])
        self._pixels = torch.from_numpy(images.pixels.reshape(count, height * width, channels))
        # Where each pixel of a turned image is found in the one that is stored.
        places = np.arange(height * width).reshape(height, width)
        turned = range(4) if rotations else range(1)
        self._places = torch.from_numpy(np.stack([np.rot90(places, k).reshape(-1) for k in turned]))

    def sample(self, generator: np.random.Generator, tasks: int, support: int, query: int, split: Split) -> TaskBatch:
        """Draws tasks: labels 0 to N - 1 in the order the classes were drawn; inputs in [0, 1].

        Raises:
            ValueError: a class of the split has fewer images than the task needs.
        """
        classes, ways, shots = self._splits[split], self.outputs, support + query
        if self._counts[classes].min() < shots:
            worst = classes[self._counts[classes].argmin()]
            raise ValueError(
                f"{support} + {query} images of each class are asked for, class {self._names[worst]} has "
                f"{self._counts[worst]}."
            )
        chosen = classes[generator.random((tasks, len(classes))).argsort(1)[:, :ways]]
        # Ranks among the class's own images only: those that it lacks sort to the end.
        lottery = generator.random((tasks, ways, int(self._counts.max())))
        lottery[np.arange(lottery.shape[-1]) >= self._counts[chosen][..., None]] = 2.0
        images = self._starts[chosen][..., None] + lottery.argsort(-1)[..., :shots]
        turn = split in self._rotations
        turns = generator.integers(4, size=(tasks, ways)) if turn else np.zeros((tasks, ways), np.int64)
        inputs = self._gather(images, turns)
        labels = torch.arange(ways).repeat_interleave(support).expand(tasks, -1)
        asked = torch.arange(ways).repeat_interleave(query).expand(tasks, -1)
        return TaskBatch(
            Labelled(inputs[:, :, :support].flatten(1, 2), labels),
            Labelled(inputs[:, :, support:].flatten(1, 2), asked),
            {"classes": chosen, "turns": turns},
        )

    def identity(self) -> dict[str, str]:
        """A digest of each split's classes: their names and how many images they have."""
        return {
            split: hashlib.sha256(
                "\n".join(f"{self._names[i]} {self._counts[i]}" for i in classes).encode()
            ).hexdigest()
            for split, classes in self._splits.items()
        }

    def _gather(self, images: NDArray[np.int64], turns: NDArray[np.int64]) -> Tensor:
        """[N, ways, shots, channels, height, width] in [0, 1], every pixel fetched once."""
        index = torch.from_numpy(images)[..., None]
        places = self._places[torch.from_numpy(turns)][:, :, None]
        pixels = self._pixels[index, places]
        channels, height, width = self.input_shape
        pixels = pixels.movedim(-1, -2).reshape(*images.shape, channels, height, width)
        return pixels.to(torch.float32).div_(255)
