"""Scikit-learn's handwritten digits: real images that come with the package, without a network (Alpaydin, 1998)."""

from typing import get_args

import numpy as np
import torch

from maml_rl.supervised.task_distribution import Labelled, Split

__all__ = ["digits"]

IMAGES, CLASSES, SIZE = 1797, 10, 8
SHARES = (0.6, 0.2, 0.2)


def digits(split_seed: int = 1, dtype: torch.dtype = torch.float32) -> dict[Split, Labelled]:
    """1,797 grey images of the digits 0 to 9, 8 x 8 pixels, in three splits that share no image.

    Each class is shuffled with `split_seed` and cut into 60 % for training and 20 % each for validation and testing,
    so that every split has the classes in the same proportions: 1,078, 360 and 359 images.

    Args:
        split_seed: of the shuffle.
        dtype: of the inputs.

    Returns:
        For "train", "validation" and "test": inputs [E, 1, 8, 8] in [0, 1], ink 1 on 0; targets [E], the digits.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError("the digits need the extra 'digits': pip install 'maml_rl[digits]'.") from None
    pixels, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(split_seed)
    pieces = [_cut(generator.permutation(np.flatnonzero(labels == digit))) for digit in range(CLASSES)]
    inputs = torch.from_numpy(pixels / 16).to(dtype).reshape(IMAGES, 1, SIZE, SIZE)
    targets = torch.from_numpy(labels)
    splits: dict[Split, Labelled] = {}
    for index, split in enumerate(get_args(Split)):
        chosen = torch.from_numpy(np.concatenate([piece[index] for piece in pieces]))
        splits[split] = Labelled(inputs[chosen], targets[chosen])
    return splits


def _cut(images: np.ndarray) -> list[np.ndarray]:
    """One class's images by their shares."""
    return np.split(images, (np.cumsum(SHARES)[:-1] * len(images)).round().astype(int))
