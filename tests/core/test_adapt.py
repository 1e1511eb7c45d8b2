"""Laws of adaptation paths, in float64: closed forms, modes against each other, nothing mutated."""

import pytest
import torch
from torch import Tensor

from maml_rl.core import adapt, constant, first_order, halved_after_first, listed, sgd, unrolled
from maml_rl.core.types import InnerState, Params

RATE = 0.1


def _quadratic(params: Params, batch: tuple[Tensor, Tensor], step: int) -> Tensor:
    matrix, vector = batch
    return 0.5 * params["x"] @ matrix @ params["x"] - vector @ params["x"]


def _problem(seed: int, size: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    start = torch.randn(size, generator=generator, dtype=torch.float64)
    return root @ root.T + torch.eye(size, dtype=torch.float64), vector, start


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_unrolled_gradient_of_a_quadratic_has_its_closed_form(steps: int) -> None:
    matrix, vector, start = _problem(0)
    value_matrix, value_vector, _ = _problem(1)

    def meta_loss(x: Tensor) -> Tensor:
        path = adapt({"x": x}, [(matrix, vector)] * steps, _quadratic, sgd(constant(RATE)))
        assert len(path) == steps + 1
        return _quadratic(path[-1].params, (value_matrix, value_vector), 0)

    adapted = start
    for _ in range(steps):
        adapted = adapted - RATE * (matrix @ adapted - vector)
    jacobian = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - RATE * matrix, steps)
    expected = jacobian.T @ (value_matrix @ adapted - value_vector)
    torch.testing.assert_close(torch.func.grad(meta_loss)(start), expected, rtol=1e-12, atol=1e-12)


def test_first_order_takes_the_jacobian_of_adaptation_for_the_identity() -> None:
    matrix, vector, start = _problem(2)

    def adapted(x: Tensor) -> Tensor:
        return adapt({"x": x}, [(matrix, vector)] * 3, _quadratic, sgd(constant(RATE)), mode=first_order())[-1].params[
            "x"
        ]

    torch.testing.assert_close(torch.func.jacrev(adapted)(start), torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(torch.func.jacfwd(adapted)(start), torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_equals_unrolled_when_the_inner_loss_is_linear(steps: int) -> None:
    _, vector, start = _problem(3)
    matrix = _problem(4)[0]

    def linear(params: Params, batch: Tensor, step: int) -> Tensor:
        return batch @ params["x"]

    def meta_loss(x: Tensor, mode: object) -> Tensor:
        path = adapt({"x": x}, [vector] * steps, linear, sgd(constant(RATE)), mode=mode)  # type: ignore[arg-type]
        return _quadratic(path[-1].params, (matrix, vector), 0)

    full, first = (torch.func.grad(meta_loss)(start, mode) for mode in (unrolled(), first_order()))
    assert torch.equal(full, first)


def test_adaptation_never_changes_its_start() -> None:
    matrix, vector, start = _problem(5)
    before = start.clone()
    adapt({"x": start}, [(matrix, vector)] * 3, _quadratic, sgd(constant(RATE)))
    assert torch.equal(start, before)


def test_a_path_can_go_on_where_another_stopped() -> None:
    matrix, vector, start = _problem(6)
    rule = sgd(halved_after_first(0.2))
    whole = adapt({"x": start}, [(matrix, vector)] * 3, _quadratic, rule)
    begun = adapt({"x": start}, [(matrix, vector)], _quadratic, rule)
    rest = adapt(InnerState(*begun[-1]), [(matrix, vector)] * 2, _quadratic, rule, first_step=1)
    assert torch.equal(whole[-1].params["x"], rest[-1].params["x"])


def test_mapping_over_tasks_equals_a_loop() -> None:
    problems = [_problem(seed) for seed in range(5)]
    matrices, vectors = torch.stack([p[0] for p in problems]), torch.stack([p[1] for p in problems])
    start = problems[0][2]

    def adapted(matrix: Tensor, vector: Tensor) -> Tensor:
        return adapt({"x": start}, [(matrix, vector)] * 2, _quadratic, sgd(constant(RATE)))[-1].params["x"]

    mapped = torch.func.vmap(adapted)(matrices, vectors)
    torch.testing.assert_close(mapped, torch.stack([adapted(p[0], p[1]) for p in problems]), rtol=1e-13, atol=1e-13)


def test_schedules() -> None:
    assert [halved_after_first(0.1)(k) for k in range(4)] == [0.1, 0.05, 0.05, 0.05]
    assert [listed([3, 2, 1])(k) for k in range(5)] == [3, 2, 1, 1, 1]
    assert [constant(0.5)(k) for k in (0, 9)] == [0.5, 0.5]
    for wrong in ([], [-0.1], [float("nan")], [float("inf")]):
        with pytest.raises(ValueError, match="learning rates"):
            listed(wrong)
