"""What a prediction costs, and how good it is, for one task."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["accuracy", "cross_entropy", "squared_error"]


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """mean (f(x) - y)^2 over examples and outputs, both [E, outputs]."""
    return F.mse_loss(predictions, targets)


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
