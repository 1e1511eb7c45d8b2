"""Laws of the implicit mode, in float64 on quadratics (Rajeswaran et al., 2019): what it equals, and its known gap."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import adapt, constant, final, first_order, implicit, listed, proximal_sgd, sgd, uniform, unrolled
from maml_rl.core.modes import Mode, require_compatible
from maml_rl.core.types import Meta, Params
from tests.core.problems import SIZE, Quadratic, draw, quadratic, quadratic_problem

RATE, LAM = 0.05, 2.0


def _problem(seed: int) -> tuple[Tensor, ...]:
    return quadratic_problem(seed, least=0.1)


def _vector_product(
    mode: Mode, steps: int, problem: tuple[Tensor, ...], lam: float = LAM, rate: float = RATE
) -> Tensor:
    """J' g with J the Jacobian of adaptation, by automatic differentiation."""
    matrix, vector, start, cotangent = problem
    start = start.clone().requires_grad_()
    rule = proximal_sgd(constant(rate), lam)
    reached = adapt({"x": start}, [(matrix, vector)] * steps, quadratic, rule, mode=mode)[-1].params["x"]
    (result,) = torch.autograd.grad(reached @ cotangent, start)
    return result


def _closed_forms(problem: tuple[Tensor, ...], steps: int) -> tuple[Tensor, Tensor, Tensor]:
    matrix, _, _, cotangent = problem
    eye = torch.eye(SIZE, dtype=torch.float64)
    hessian = matrix + LAM * eye
    shrunk = torch.linalg.matrix_power(eye - RATE * hessian, steps)
    limit = LAM * torch.linalg.inv(hessian)
    unrolled_jacobian = limit + shrunk @ (eye - limit)
    return limit.T @ cotangent, unrolled_jacobian.T @ cotangent, (shrunk @ (eye - limit)).T @ cotangent


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_both_modes_have_their_closed_forms_and_the_known_gap(steps: int) -> None:
    problem = _problem(0)
    implicit_form, unrolled_form, gap = _closed_forms(problem, steps)
    implied = _vector_product(implicit(SIZE), steps, problem)
    through = _vector_product(unrolled(), steps, problem)
    torch.testing.assert_close(implied, implicit_form, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(through, unrolled_form, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(through - implied, gap, rtol=1e-7, atol=1e-10)
    assert gap.norm() > 1e-3 or steps == 20


def test_the_gap_closes_as_the_path_grows() -> None:
    problem = _problem(1)
    gaps = [
        float((_vector_product(unrolled(), k, problem) - _vector_product(implicit(SIZE), k, problem)).norm())
        for k in (1, 10, 100, 400)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-12


def test_a_strong_pull_gives_the_first_order_gradient() -> None:
    problem = _problem(2)
    matrix, vector, start, cotangent = problem
    plain = start.clone().requires_grad_()
    path = adapt({"x": plain}, [(matrix, vector)], quadratic, sgd(constant(RATE)), mode=first_order())
    (first,) = torch.autograd.grad(path[-1].params["x"] @ cotangent, plain)
    products = [_vector_product(implicit(SIZE), 5, problem, lam, 0.5 / lam) for lam in (1e2, 1e4, 1e6)]
    errors = [float((result - first).norm()) for result in products]
    assert errors[0] > 10 * errors[1] > 100 * errors[2] > 0


def test_few_iterations_of_conjugate_gradient_solve_part_of_it() -> None:
    problem = _problem(3)
    exact = _closed_forms(problem, 1)[0]
    errors = [float((_vector_product(implicit(k), 1, problem) - exact).norm()) for k in (1, 2, 3, 4)]
    assert errors[0] > 1e-3
    assert errors[-1] < 1e-9


def _shifted(params: Params, batch: Quadratic, meta: Meta, step: int) -> tuple[Tensor, Tensor]:
    """x'Ax / 2 - b'x + m'x: its gradient is A x - b + m."""
    value, residual = quadratic(params, batch, meta, step)
    return value + meta["shift"]["m"] @ params["x"], residual


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_meta_parameters_of_the_loss_have_their_closed_form(damping: float) -> None:
    """phi* = (A + lam I)^-1 (b - m + lam theta), so d phi* / dm = -(A + lam I)^-1; damping is a stronger pull."""
    matrix, vector, start, cotangent = _problem(8)
    m = draw(9)(SIZE).requires_grad_()
    meta, rule = {"shift": {"m": m, "unused": torch.ones(2, dtype=torch.float64)}}, proximal_sgd(constant(RATE), LAM)
    path = adapt({"x": start}, [(matrix, vector)] * 3, _shifted, rule, meta, implicit(SIZE, damping))
    (slope,) = torch.autograd.grad(path[-1].params["x"] @ cotangent, m)
    hessian = matrix + LAM * (1 + damping) * torch.eye(SIZE, dtype=torch.float64)
    torch.testing.assert_close(slope, -torch.linalg.solve(hessian, cotangent), rtol=1e-9, atol=1e-11)


def test_at_the_minimum_the_derivatives_are_those_of_finite_differences() -> None:
    """In the start and in a meta-parameter, for a loss that is no quadratic."""
    matrix, vector, start, cotangent = _problem(10)

    def loss(params: Params, batch: Quadratic, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        value, _ = quadratic(params, batch, meta, step)
        return value + torch.cosh(meta["shift"]["m"] * params["x"]).sum(), ()

    def value(x: Tensor, m: Tensor) -> Tensor:
        rule = proximal_sgd(constant(RATE), LAM)
        path = adapt({"x": x}, [(matrix, vector)] * 300, loss, rule, {"shift": {"m": m}}, implicit(2 * SIZE))
        return path[-1].params["x"] @ cotangent

    inputs = (start.requires_grad_(), (0.3 * draw(11)(SIZE)).requires_grad_())
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-8)


def test_the_fixed_point_is_that_of_the_last_steps_loss() -> None:
    """Step k descends (1 + k) loss, and the path begins at step 2: the last of two steps has the curvature 4 A."""
    matrix, vector, start, cotangent = _problem(13)
    start.requires_grad_()

    def growing(params: Params, batch: Quadratic, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        return (1 + step) * quadratic(params, batch, meta, step)[0], ()

    rule = proximal_sgd(constant(RATE), LAM)
    path = adapt({"x": start}, [(matrix, vector)] * 2, growing, rule, mode=implicit(SIZE), first_step=2)
    (slope,) = torch.autograd.grad(path[-1].params["x"] @ cotangent, start)
    expected = LAM * torch.linalg.solve(4 * matrix + LAM * torch.eye(SIZE, dtype=torch.float64), cotangent)
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "one for each task"])
def test_mapping_over_tasks_equals_a_loop(own: bool) -> None:
    problems = [_problem(seed) for seed in range(4)]
    start = problems[0][2].clone().requires_grad_()
    shifts = draw(12)(*((4, SIZE) if own else (SIZE,))).requires_grad_()
    stacked = [torch.stack([problem[i] for problem in problems]) for i in (0, 1, 3)]

    def task(matrix: Tensor, vector: Tensor, cotangent: Tensor, shift: Tensor) -> Tensor:
        rule, meta = proximal_sgd(constant(RATE), LAM), {"shift": {"m": shift}}
        path = adapt({"x": start}, [(matrix, vector)] * 3, _shifted, rule, meta, implicit(SIZE))
        return path[-1].params["x"] @ cotangent

    mapped = torch.func.vmap(task, in_dims=(0, 0, 0, 0 if own else None))(*stacked, shifts)
    looped = [task(p[0], p[1], p[3], shifts[i] if own else shifts) for i, p in enumerate(problems)]
    torch.testing.assert_close(mapped, torch.stack(looped))
    for one, other in zip(
        torch.autograd.grad(mapped.sum(), (start, shifts)),
        torch.autograd.grad(torch.stack(looped).sum(), (start, shifts)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        assert float(one.abs().min()) > 0


def _kept_bytes(mode: Mode, steps: int) -> int:
    """Bytes of the tensors that the graph of a path keeps alive, each counted once."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 32, generator=generator, dtype=torch.float64)
    start = {"w": torch.randn(32, 32, generator=generator, dtype=torch.float64).requires_grad_()}

    def loss(params: Params, batch: Tensor, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        return torch.tanh(batch @ params["w"]).square().mean(), ()

    path = adapt(start, [inputs] * steps, loss, proximal_sgd(constant(0.1), 1.0), mode=mode)
    kept: dict[int, int] = {}
    waiting: list[Any] = [path[-1].params["w"].sum().grad_fn]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        for tensor in [*saved, *getattr(node, "saved_tensors", ())]:
            if isinstance(tensor, Tensor):
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    assert len(seen) > 1
    return sum(kept.values())


def test_the_graph_is_flat_in_the_steps_and_linear_when_unrolled() -> None:
    flat = [_kept_bytes(implicit(5), k) for k in (2, 4, 8, 16)]
    grows = [_kept_bytes(unrolled(), k) for k in (2, 4, 8, 16)]
    assert len(set(flat)) == 1
    assert flat[0] < grows[0]
    slopes = [(grows[i + 1] - grows[i]) / (2, 4, 8)[i] for i in range(3)]
    assert max(slopes) < 1.1 * min(slopes)


def test_what_it_does_not_hold_for_is_refused_by_name() -> None:
    problem = _problem(4)
    with pytest.raises(ValueError, match="'implicit' holds for the rule 'proximal_sgd' only, got 'sgd'"):
        adapt({"x": problem[2]}, [problem[:2]], quadratic, sgd(constant(0.1)), mode=implicit())
    with pytest.raises(ValueError, match="'final', got 'uniform'"):
        require_compatible(implicit(), proximal_sgd(constant(0.1), 1.0), uniform())
    require_compatible(implicit(), proximal_sgd(constant(0.1), 1.0), final())
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="proximal strength"):
            proximal_sgd(listed([0.1]), wrong)
    with pytest.raises(ValueError, match="cg_iterations"):
        implicit(0)
    with pytest.raises(ValueError, match="damping"):
        implicit(damping=-1.0)


@pytest.mark.parametrize("steps", [1, 2, 40])
def test_of_the_path_the_ends_are_kept(steps: int) -> None:
    matrix, vector, start, _ = _problem(7)
    rule = proximal_sgd(constant(RATE), LAM)
    kept, whole = (
        adapt({"x": start}, [(matrix, vector)] * steps, quadratic, rule, mode=mode)
        for mode in (implicit(), first_order())
    )
    assert (len(kept), len(whole)) == (2, steps + 1)
    assert torch.equal(kept[0].params["x"], start)
    torch.testing.assert_close(kept[1].params["x"], whole[-1].params["x"])


def test_no_steps_give_the_start() -> None:
    problem = _problem(5)
    torch.testing.assert_close(_vector_product(implicit(), 0, problem), problem[3])


def test_tasks_without_a_minimum_are_counted_and_of_first_order() -> None:
    eye = torch.eye(SIZE, dtype=torch.float64)
    # Curvature -3 outweighs a pull of 2, curvature -1 does not.
    matrices = torch.stack([eye, -3 * eye, -eye, -3 * eye])
    start, shift = (torch.ones(SIZE, dtype=torch.float64).requires_grad_() for _ in range(2))
    probe = torch.zeros((), dtype=torch.float64).requires_grad_()

    def task(matrix: Tensor) -> Tensor:
        rule, mode = proximal_sgd(constant(RATE), LAM), implicit(SIZE, probe=probe)
        batch = (matrix, torch.zeros(SIZE, dtype=torch.float64))
        return adapt({"x": start}, [batch], _shifted, rule, {"shift": {"m": shift}}, mode)[-1].params["x"].sum()

    torch.func.vmap(task)(matrices).sum().backward()
    assert float(probe.grad) == 2.0  # type: ignore[arg-type]
    # Those with one: lam / (1 + lam) and lam / (-1 + lam) of a cotangent of ones; those without: the identity, and
    # nothing in what only the loss reads.
    torch.testing.assert_close(start.grad, torch.full((SIZE,), 2 / 3 + 2.0 + 2 * 1.0, dtype=torch.float64))
    torch.testing.assert_close(shift.grad, torch.full((SIZE,), -(1 / 3 + 1.0), dtype=torch.float64))


@pytest.mark.parametrize("damping", [0.5, 5.0])
def test_damping_is_a_stronger_pull_in_the_derivative(damping: float) -> None:
    matrix, _, _, cotangent = problem = _problem(6)
    product = _vector_product(implicit(SIZE, damping), 3, problem)
    pull = LAM * (1 + damping)
    expected = pull * torch.linalg.solve(matrix + pull * torch.eye(SIZE, dtype=torch.float64), cotangent)
    torch.testing.assert_close(product, expected, rtol=1e-9, atol=1e-11)


def test_where_a_later_direction_has_no_curvature_the_solution_so_far_counts() -> None:
    """diag(2, -3): A = diag(4, -1) has p'Ap > 0 along the first direction and not along the second."""
    matrix = torch.diag(torch.tensor([2.0, -3.0], dtype=torch.float64))
    zero, cotangent = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    product = _vector_product(implicit(2), 1, (matrix, zero, zero, cotangent))
    # One step of conjugate gradient on A x = g: x = (g'g / g'Ag) g, times lam.
    torch.testing.assert_close(product, LAM * (2 / 3) * cotangent, rtol=1e-9, atol=1e-11)
