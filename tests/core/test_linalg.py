"""Conjugate gradient against dense solves, linearisation against explicit Jacobians, in float64."""

import pytest
import torch
from torch import Tensor

from maml_rl.core import conjugate_gradient, linearise
from maml_rl.core.tree import expand, flatten, select, take, unflatten
from tests.core.problems import draw


def _definite(size: int, seed: int) -> tuple[Tensor, Tensor]:
    normal = draw(seed)
    root = normal(size, size)
    return root @ root.T + torch.eye(size, dtype=torch.float64), normal(size)


@pytest.mark.parametrize("size", [1, 5, 12])
def test_conjugate_gradient_equals_a_dense_solve(size: int) -> None:
    matrix, b = _definite(size, size)
    solution = conjugate_gradient(lambda v: matrix @ v, b, iterations=3 * size, tolerance=0.0)
    torch.testing.assert_close(solution.x, torch.linalg.solve(matrix, b), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(solution.residual, b - matrix @ solution.x, rtol=1e-8, atol=1e-10)
    assert not solution.indefinite


def test_conjugate_gradient_minimises_over_the_krylov_space_at_each_iteration() -> None:
    matrix, b = _definite(8, 3)
    krylov = torch.stack([torch.linalg.matrix_power(matrix, k) @ b for k in range(4)], dim=1)
    basis, _ = torch.linalg.qr(krylov)
    expected = basis @ torch.linalg.solve(basis.T @ matrix @ basis, basis.T @ b)
    torch.testing.assert_close(conjugate_gradient(lambda v: matrix @ v, b, 4).x, expected, rtol=1e-8, atol=1e-9)


def test_conjugate_gradient_notices_negative_curvature() -> None:
    matrix = torch.diag(torch.tensor([1.0, -2.0], dtype=torch.float64))
    solution = conjugate_gradient(lambda v: matrix @ v, torch.ones(2, dtype=torch.float64))
    assert solution.indefinite
    assert torch.isfinite(solution.x).all()


def test_conjugate_gradient_of_zero_is_zero() -> None:
    matrix, _ = _definite(3, 0)
    assert torch.equal(conjugate_gradient(lambda v: matrix @ v, torch.zeros(3).double()).x, torch.zeros(3).double())


def test_linearisation_equals_the_explicit_jacobian() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    point, v = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(2))

    def function(x: Tensor) -> tuple[Tensor, ...]:
        return torch.tanh(weight @ x), (x**3)[:2]

    linear = linearise(function, point)
    jacobians = torch.func.jacrev(function)(point)
    for value, expected in zip(linear.value, function(point), strict=True):
        assert torch.equal(value, expected)
    for pushed, jacobian in zip(linear.jvp(v), jacobians, strict=True):
        torch.testing.assert_close(pushed, jacobian @ v, rtol=1e-12, atol=1e-12)
    w = tuple(torch.randn(size, generator=generator, dtype=torch.float64) for size in (3, 2))
    expected = sum(jacobian.T @ part for jacobian, part in zip(jacobians, w, strict=True))
    for _ in range(2):  # the graph is kept
        torch.testing.assert_close(linear.vjp(w), expected, rtol=1e-12, atol=1e-12)


def test_flat_vectors_and_trees_are_inverse() -> None:
    params = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7.0), "c": torch.zeros(0)}
    back = unflatten(flatten(params), params)
    assert all(torch.equal(back[name], leaf) for name, leaf in params.items())
    with pytest.raises(ValueError, match=r"\[P\] = \(7,\), got \(3,\)"):
        unflatten(torch.zeros(3), params)
    assert expand(params, 4)["a"].shape == (4, 2, 3)
    assert take((torch.arange(5), {"x": torch.arange(5)}), 1, 3)[1]["x"].tolist() == [1, 2]


def test_a_mask_chooses_between_trees() -> None:
    mask = torch.tensor([True, False])
    one, two = ({"a": torch.full((2, 3), value), "b": (torch.full((2,), value),)} for value in (1.0, 2.0))
    chosen = select(mask, one, two)
    assert chosen["a"].tolist() == [[1.0] * 3, [2.0] * 3]
    assert chosen["b"][0].tolist() == [1.0, 2.0]
