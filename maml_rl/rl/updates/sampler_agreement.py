"""The learner's policy must be the sampler's: their log-probabilities are compared at every meta-update."""

import torch
from torch import Tensor

__all__ = ["SamplerMismatchError", "require_agreement"]


class SamplerMismatchError(RuntimeError):
    """The learner's log-probabilities are not those of the policy that sampled."""


def require_agreement(learned: Tensor, sampled: Tensor, counted: Tensor) -> None:
    """Raises `SamplerMismatchError` if log-probabilities that are `counted` differ by more than rounding.

    Args:
        learned: according to the learner.
        sampled: according to the sampler, of the same shape.
        counted: positive where a step happened.
    """
    gaps = (learned - sampled).abs() * (counted > 0)
    largest, limit = float(gaps.max()), 1e-8 if gaps.dtype == torch.float64 else 1e-2
    if largest > limit:
        raise SamplerMismatchError(
            f"log-probabilities of the sampler and of the learner differ by {largest:.3g} (limit {limit:g}): "
            "the likelihood ratio would not be 1 before the first step."
        )
