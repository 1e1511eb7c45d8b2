"""Conjugate gradient against dense solves, linearisation against explicit Jacobians, in float64."""

from itertools import product

import pytest
import torch
from torch import Tensor

from maml_rl.core import conjugate_gradient, diagonal, linearise
from maml_rl.core.tree import expand, flatten, take, unflatten


def _definite(size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.T + torch.eye(size, dtype=torch.float64), torch.randn(
        size, generator=generator, dtype=torch.float64
    )


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
    for pushed, jacobian in zip(linear.push(v), jacobians, strict=True):
        torch.testing.assert_close(pushed, jacobian @ v, rtol=1e-12, atol=1e-12)
    w = (
        torch.randn(3, generator=generator, dtype=torch.float64),
        torch.randn(2, generator=generator, dtype=torch.float64),
    )
    expected = sum(jacobian.T @ part for jacobian, part in zip(jacobians, w, strict=True))
    for _ in range(2):  # the graph is kept
        torch.testing.assert_close(linear.pull(w), expected, rtol=1e-12, atol=1e-12)


def test_flat_vectors_and_trees_are_inverse() -> None:
    params = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7.0), "c": torch.zeros(0)}
    back = unflatten(flatten(params), params)
    assert all(torch.equal(back[name], leaf) for name, leaf in params.items())
    with pytest.raises(ValueError, match=r"\[P\] = \(7,\), got \(3,\)"):
        unflatten(torch.zeros(3), params)
    assert expand(params, 4)["a"].shape == (4, 2, 3)
    assert take((torch.arange(5), {"x": torch.arange(5)}), 1, 3)[1]["x"].tolist() == [1, 2]


def test_a_preconditioner_changes_the_path_and_not_the_solution() -> None:
    matrix, b = _definite(8, 5)
    scale = torch.logspace(-2, 2, 8, dtype=torch.float64)
    matrix = scale[:, None] * matrix * scale  # badly scaled
    diagonal_of = matrix.diagonal().clone()
    expected = torch.linalg.solve(matrix, b)
    found = conjugate_gradient(lambda v: matrix @ v, b, 60, tolerance=0.0, preconditioner=diagonal_of)
    torch.testing.assert_close(found.x, expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.residual, b - matrix @ found.x, rtol=1e-6, atol=1e-8)
    root = diagonal_of.sqrt()
    scaled = conjugate_gradient(lambda v: (matrix @ (v / root)) / root, b / root, 4)
    few = conjugate_gradient(lambda v: matrix @ v, b, 4, preconditioner=diagonal_of)
    torch.testing.assert_close(few.x, scaled.x / root, rtol=1e-8, atol=1e-10)
    plain = conjugate_gradient(lambda v: matrix @ v, b, 4)
    energy = lambda x: float((x - expected) @ matrix @ (x - expected))  # noqa: E731
    assert energy(few.x) < 0.1 * energy(plain.x)


def test_all_probes_together_give_the_diagonal() -> None:
    matrix, _ = _definite(4, 2)
    probes = torch.tensor(list(product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
    torch.testing.assert_close(diagonal(lambda v: matrix @ v, probes), matrix.diagonal(), rtol=1e-12, atol=1e-13)
    tiny = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    assert float(diagonal(lambda v: tiny @ v, torch.ones(1, 3, dtype=torch.float64)).min()) > 0
