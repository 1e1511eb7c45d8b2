"""Linear algebra without matrices: conjugate gradient, and a function's Jacobian as a pair of products."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Linearisation", "Solution", "conjugate_gradient", "linearise"]


class Solution(NamedTuple):
    """What conjugate gradient found: x, the residual b - A x, and whether a direction had p'Ap <= 0."""

    x: Tensor
    residual: Tensor
    indefinite: Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    iterations: int = 10,
    tolerance: float = 1e-10,
    stops: bool = True,
) -> Solution:
    """Solves A x = b for a positive definite A given as x -> A x (Hestenes and Stiefel, 1952).

    Nothing is read back from the device: once the squared residual is below `tolerance` times that of b, or a
    direction without curvature is met, the remaining iterations leave x as it is. On a CPU they are skipped, unless
    `stops` is false: under `vmap` each solution has an end of its own.
    """
    x = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()
    energy = residual @ residual
    enough = tolerance * energy
    indefinite = torch.zeros_like(energy, dtype=torch.bool)
    readable = stops and b.device.type == "cpu"
    for _ in range(iterations):
        image = product(direction)
        curvature = direction @ image
        unsolved = energy > enough
        indefinite = indefinite | (unsolved & ~(curvature > 0))
        active = unsolved & ~indefinite
        if readable and not active:
            break
        length = torch.where(active, energy / curvature, 0.0)
        x = torch.where(active, x + length * direction, x)
        residual = torch.where(active, residual - length * image, residual)
        next_energy = residual @ residual
        direction = torch.where(active, residual + next_energy / energy * direction, direction)
        energy = torch.where(active, next_energy, energy)
    return Solution(x, residual, indefinite)


class Linearisation(NamedTuple):
    """A function at a point: its value, v -> J v and w -> J' w, both reusable without evaluating it again."""

    value: tuple[Tensor, ...]
    jvp: Callable[[Tensor], tuple[Tensor, ...]]
    vjp: Callable[[tuple[Tensor, ...]], Tensor]


def linearise(function: Callable[[Tensor], tuple[Tensor, ...]], point: Tensor) -> Linearisation:
    """Linearises `function` at `point`, [P].

    J'w is a backward pass through the kept graph. It is linear in w, so J v is a backward pass through the
    graph of J'w with respect to w: both run in the autograd engine, and nothing is traced.

    Args:
        function: from a vector to a tuple of tensors that all depend on it.
        point: where to linearise, [P].
    """
    point = point.detach().requires_grad_()
    value = function(point)
    dual = tuple(torch.zeros_like(part, requires_grad=True) for part in value)
    (pulled,) = torch.autograd.grad(value, point, dual, create_graph=True)

    def jvp(tangent: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(pulled, dual, tangent, retain_graph=True)

    def vjp(cotangent: tuple[Tensor, ...]) -> Tensor:
        (result,) = torch.autograd.grad(value, point, cotangent, retain_graph=True)
        return result

    return Linearisation(tuple(part.detach() for part in value), jvp, vjp)
