"""Small problems in float64 that the laws of the core are stated on."""

from collections.abc import Callable

import torch
from torch import Tensor

from maml_rl.core.types import Meta, Params

__all__ = ["SIZE", "Quadratic", "draw", "quadratic", "quadratic_problem", "tanh_loss", "tanh_problem"]

SIZE = 4
Quadratic = tuple[Tensor, Tensor]
"""A positive definite matrix A, [P, P], and a vector b, [P]."""


def draw(seed: int) -> Callable[..., Tensor]:
    """``draw(seed)(*shape)`` is normal noise."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def quadratic(params: Params, batch: Quadratic, meta: Meta, step: int) -> tuple[Tensor, Tensor]:
    """x'Ax / 2 - b'x, and the residual Ax - b."""
    matrix, vector = batch
    x = params["x"]
    return 0.5 * x @ matrix @ x - vector @ x, matrix @ x - vector


def quadratic_problem(seed: int, least: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A with eigenvalues of at least `least`, b, a start and a cotangent."""
    normal = draw(seed)
    root = normal(SIZE, SIZE)
    matrix = root @ root.T + least * torch.eye(SIZE, dtype=torch.float64)
    return matrix, normal(SIZE), normal(SIZE), normal(SIZE)


def tanh_loss(params: Params, batch: Tensor, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
    """A loss of two tensors with curvature everywhere."""
    return (torch.tanh(batch @ params["a"]) @ params["b"] - 1).square().mean(), ()


def tanh_problem(seed: int = 0) -> tuple[Params, Tensor]:
    """Parameters and a batch of `tanh_loss`."""
    normal = draw(seed)
    return {"a": normal(3, 4), "b": normal(4)}, normal(6, 3)
