"""The digits: every image once, classes in proportion, splits by the seed."""

import builtins
from typing import Any

import pytest
import torch

from maml_rl.supervised.digits import digits

load_digits = pytest.importorskip("sklearn.datasets", reason="the extra 'digits' is not installed").load_digits


def test_the_splits_hold_every_image_once_with_its_label() -> None:
    pixels, labels = load_digits(return_X_y=True)
    expected = sorted((*row, label) for row, label in zip(pixels.tolist(), labels.tolist(), strict=True))
    parts = digits().values()
    inputs, targets = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    assert inputs.shape == (1797, 1, 8, 8)
    rows = (inputs * 16).reshape(1797, 64).tolist()
    assert sorted((*row, label) for row, label in zip(rows, targets.tolist(), strict=True)) == expected
    assert (float(inputs.min()), float(inputs.max())) == (0.0, 1.0)


def test_every_split_has_the_classes_in_proportion() -> None:
    counts = {split: part.targets.bincount(minlength=10) for split, part in digits().items()}
    assert [int(count.sum()) for count in counts.values()] == [1078, 360, 359]
    whole = torch.stack(list(counts.values())).sum(0)
    for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert float((counts[split] - share * whole).abs().max()) <= 1.0


def test_the_seed_decides_and_the_precision_is_as_asked() -> None:
    one, same, other = digits(3, torch.float64), digits(3, torch.float64), digits(4, torch.float64)
    assert one["train"].inputs.dtype == torch.float64
    assert one["train"].targets.dtype == torch.int64
    assert torch.equal(one["test"].inputs, same["test"].inputs)
    assert not torch.equal(one["test"].inputs, other["test"].inputs)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match=r"maml_rl\[digits\]"):
        digits()
