"""Laws of adaptation paths: closed forms, modes against each other, further results, nothing mutated."""

import pytest
import torch
from torch import Tensor

from maml_rl.core import Mode, adapt, constant, first_order, halved_after_first, implicit, proximal_sgd, sgd, unrolled
from maml_rl.core.types import InnerState, Meta, Params
from tests.core.problems import SIZE, quadratic, quadratic_problem

RATE = 0.1
EYE = torch.eye(SIZE, dtype=torch.float64)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_unrolled_gradient_of_a_quadratic_has_its_closed_form(steps: int) -> None:
    matrix, vector, start, _ = quadratic_problem(0)
    query = quadratic_problem(1)[:2]

    def meta_loss(x: Tensor) -> Tensor:
        path = adapt({"x": x}, [(matrix, vector)] * steps, quadratic, sgd(constant(RATE)))
        assert len(path) == steps + 1
        return quadratic(path[-1].params, query, {}, 0)[0]

    adapted = start
    for _ in range(steps):
        adapted = adapted - RATE * (matrix @ adapted - vector)
    jacobian = torch.linalg.matrix_power(EYE - RATE * matrix, steps)
    expected = jacobian.T @ (query[0] @ adapted - query[1])
    torch.testing.assert_close(torch.func.grad(meta_loss)(start), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("signal_in_meta", [False, True])
def test_first_order_takes_the_jacobian_of_adaptation_for_the_identity(signal_in_meta: bool) -> None:
    matrix, vector, start, _ = quadratic_problem(2)

    def adapted(x: Tensor) -> Tensor:
        mode = first_order(signal_in_meta)
        return adapt({"x": x}, [(matrix, vector)] * 3, quadratic, sgd(constant(RATE)), mode=mode)[-1].params["x"]

    torch.testing.assert_close(torch.func.jacrev(adapted)(start), EYE)
    torch.testing.assert_close(torch.func.jacfwd(adapted)(start), EYE)


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_equals_unrolled_when_the_inner_loss_is_linear(steps: int) -> None:
    matrix, vector, start, _ = quadratic_problem(3)

    def linear(params: Params, batch: Tensor, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        return batch @ params["x"], ()

    def meta_loss(x: Tensor, mode: Mode) -> Tensor:
        path = adapt({"x": x}, [vector] * steps, linear, sgd(constant(RATE)), mode=mode)
        return quadratic(path[-1].params, (matrix, vector), {}, 0)[0]

    full, first = (torch.func.grad(meta_loss)(start, mode) for mode in (unrolled(), first_order()))
    assert torch.equal(full, first)


def test_adaptation_never_changes_its_start() -> None:
    matrix, vector, start, _ = quadratic_problem(5)
    before = start.clone()
    adapt({"x": start}, [(matrix, vector)] * 3, quadratic, sgd(constant(RATE)))
    assert torch.equal(start, before)


def test_a_path_can_go_on_where_another_stopped() -> None:
    matrix, vector, start, _ = quadratic_problem(6)
    rule = sgd(halved_after_first(0.2))
    whole = adapt({"x": start}, [(matrix, vector)] * 3, quadratic, rule)
    begun = adapt({"x": start}, [(matrix, vector)], quadratic, rule)
    rest = adapt(InnerState(*begun[-1]), [(matrix, vector)] * 2, quadratic, rule, first_step=1)
    assert torch.equal(whole[-1].params["x"], rest[-1].params["x"])


def test_mapping_over_tasks_equals_a_loop() -> None:
    problems = [quadratic_problem(seed) for seed in range(5)]
    start = problems[0][2]

    def adapted(matrix: Tensor, vector: Tensor) -> Tensor:
        return adapt({"x": start}, [(matrix, vector)] * 2, quadratic, sgd(constant(RATE)))[-1].params["x"]

    mapped = torch.func.vmap(adapted)(*(torch.stack([problem[i] for problem in problems]) for i in (0, 1)))
    torch.testing.assert_close(mapped, torch.stack([adapted(p[0], p[1]) for p in problems]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "mode",
    [unrolled(), first_order(), first_order(True), implicit()],
    ids=["unrolled", "first_order", "first_order_with_signal", "implicit"],
)
def test_what_else_the_loss_computes_comes_out_with_each_step(mode: Mode) -> None:
    matrix, vector, start, _ = quadratic_problem(7)
    batches = [(matrix, vector), (matrix, 2 * vector), (2 * matrix, vector)]
    rule = proximal_sgd(constant(RATE), 1.0)
    points = adapt({"x": start}, batches, quadratic, rule)
    path = adapt({"x": start}, batches, quadratic, rule, mode=mode)
    assert path[0].aux == ()
    # The residual at the point before the step, on the step's own batch.
    expected = [m @ point.params["x"] - v for point, (m, v) in zip(points, batches, strict=False)]
    for state, residual in zip(path[1:], expected[-len(path) + 1 :], strict=True):
        torch.testing.assert_close(state.aux, residual)


def test_losses_are_told_their_step() -> None:
    start, steps = quadratic_problem(8)[2], list[int]()

    def loss(params: Params, batch: Tensor, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        steps.append(step)
        return batch @ params["x"], ()

    adapt({"x": start}, [start] * 3, loss, sgd(constant(RATE)), first_step=4)
    assert steps == [4, 5, 6]
