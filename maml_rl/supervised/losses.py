"""What a prediction costs, and how good it is, for one task."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CRITERIA", "Criterion", "Problem", "accuracy", "cross_entropy", "mean_squared_error", "squared_error"]

Problem: TypeAlias = Literal["regression", "classification"]
"""What is predicted: numbers, or one of several classes."""


class Criterion(NamedTuple):
    """How predictions are judged in one type of problem.

    Attributes:
        loss: ``loss(predictions, targets)`` of one task, a scalar: what adaptation descends.
        measure: ``measure(predictions, targets)`` is what results report, for any leading dimensions:
            [..., E, outputs] -> [...].
        name: what files and tables call the measure.
        higher_is_better: its direction.
        label: what figures call it.
        class_targets: whether targets are class indices, [E], and not numbers, [E, outputs].
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[Tensor, Tensor], Tensor]
    name: str
    higher_is_better: bool
    label: str
    class_targets: bool


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """mean (f(x) - y)^2 over examples and outputs, both [E, outputs]."""
    return F.mse_loss(predictions, targets)


def mean_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """The same for any leading dimensions: [..., E, outputs] -> [...]."""
    return (predictions - targets).square().mean((-2, -1))


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """mean -log softmax(f(x))_y over examples: logits [E, classes], class indices [E]."""
    return F.cross_entropy(logits, classes)


def accuracy(logits: Tensor, classes: Tensor) -> Tensor:
    """Share of examples whose largest logit is the right one, nan if one is not finite.

    Args:
        logits: [..., E, classes].
        classes: indices, [..., E].
    """
    share = (logits.argmax(-1) == classes).to(logits.dtype).mean(-1)
    return share.where(logits.isfinite().all(-1).all(-1), torch.nan)


CRITERIA: dict[Problem, Criterion] = {
    "regression": Criterion(squared_error, mean_squared_error, "error", False, "mean squared error", False),
    "classification": Criterion(cross_entropy, accuracy, "accuracy", True, "accuracy", True),
}
"""The criterion of each type of problem."""
