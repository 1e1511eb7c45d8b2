"""Noise as a pure function of a seed, under `torch.func.vmap` too: the numbers of SplitMix64 (Steele et al., 2014)."""

import math

import torch
from torch import Tensor

__all__ = ["seeded_normal", "seeded_uniform"]

# 64-bit words as the signed numbers that torch has; products and sums wrap around.
_GOLDEN, _FIRST, _SECOND = (word - 2**64 for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def seeded_uniform(seed: Tensor, *shape: int, stream: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [0, 1), the same for the same seed on every device.

    Args:
        seed: an int64 scalar tensor.
        shape: of the result.
        stream: numbers of other streams are independent of these.
        dtype: of the result.
    """
    places = torch.arange(math.prod(shape), device=seed.device)
    words = _mixed(_mixed(_mixed(seed) + stream) + places * _GOLDEN)
    bits = 1 - round(math.log2(torch.finfo(dtype).eps))
    return (_shifted(words, 64 - bits).to(dtype) * 2.0**-bits).reshape(shape)


def seeded_normal(seed: Tensor, *shape: int, stream: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers (Box and Muller, 1958); arguments as of `seeded_uniform`."""
    radius = (-2.0 * torch.log1p(-seeded_uniform(seed, *shape, stream=2 * stream, dtype=dtype))).sqrt()
    return radius * torch.cos(2.0 * math.pi * seeded_uniform(seed, *shape, stream=2 * stream + 1, dtype=dtype))


def _mixed(words: Tensor) -> Tensor:
    words = words + _GOLDEN
    words = (words ^ _shifted(words, 30)) * _FIRST
    words = (words ^ _shifted(words, 27)) * _SECOND
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """To the right, with zeros coming in, also where the sign is set."""
    return (words >> bits) & (2 ** (64 - bits) - 1)
