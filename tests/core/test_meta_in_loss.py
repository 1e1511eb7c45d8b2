"""Losses that read meta-parameters: what each mode makes of their derivative.

The loss is x'Ax / 2 - b'x + m'x, so that its gradient at phi is A phi - b + m and its partial derivative in m is x.
"""

import pytest
import torch
from torch import Tensor

from maml_rl.core import Mode, adapt, constant, first_order, implicit, only, require_compatible, sgd, unrolled
from maml_rl.core.types import Meta, Params
from tests.core.problems import SIZE, Quadratic, draw, quadratic, quadratic_problem

RATE, STEPS = 0.1, 3
EYE = torch.eye(SIZE, dtype=torch.float64)


def _shifted(params: Params, batch: Quadratic, meta: Meta, step: int) -> tuple[Tensor, Tensor]:
    value, residual = quadratic(params, batch, meta, step)
    return value + meta["shift"]["m"] @ params["x"], residual


def _nonlinear(params: Params, batch: Quadratic, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
    value, _ = quadratic(params, batch, meta, step)
    return value + (torch.tanh(meta["shift"]["m"] * params["x"])).square().sum(), ()


def _in_shift(mode: Mode, loss: object = _shifted, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """The gradient of cotangent'phi_K in the start and in m."""
    matrix, vector, start, cotangent = quadratic_problem(0)

    def value(x: Tensor, m: Tensor) -> Tensor:
        meta = {"shift": {"m": m}}
        path = adapt({"x": x}, [(matrix, vector)] * steps, loss, sgd(constant(RATE)), meta, mode)  # type: ignore[arg-type]
        return path[-1].params["x"] @ cotangent

    return torch.func.grad(value, argnums=(0, 1))(start, draw(1)(SIZE))


def test_unrolled_derivatives_are_those_of_finite_differences() -> None:
    matrix, vector, start, cotangent = quadratic_problem(0)

    def value(m: Tensor) -> Tensor:
        meta = {"shift": {"m": m}}
        path = adapt({"x": start}, [(matrix, vector)] * STEPS, _nonlinear, sgd(constant(RATE)), meta)
        return path[-1].params["x"] @ cotangent

    assert torch.autograd.gradcheck(value, (draw(1)(SIZE).requires_grad_(),), eps=1e-6, atol=1e-8)


def test_each_mode_has_its_closed_form() -> None:
    """dphi_K/dm = -a sum_k (I - aA)^k unrolled; in first order -a K with a signal in meta, and nothing without."""
    matrix, _, _, cotangent = quadratic_problem(0)
    powers = [torch.linalg.matrix_power(EYE - RATE * matrix, k) for k in range(STEPS)]
    whole, first, partial = (_in_shift(mode) for mode in (unrolled(), first_order(), first_order(signal_in_meta=True)))
    torch.testing.assert_close(whole[1], -RATE * torch.stack(powers).sum(0).T @ cotangent, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(partial[1], -RATE * STEPS * cotangent, rtol=1e-12, atol=1e-13)
    assert torch.equal(first[1], torch.zeros(SIZE, dtype=torch.float64))
    torch.testing.assert_close(partial[0], cotangent)
    torch.testing.assert_close(first[0], cotangent)


def test_the_partial_derivative_of_each_step_is_taken_where_the_step_was() -> None:
    """sum_k -a d(grad_phi loss)(phi_k, m)/dm with phi_k held, for a loss whose mixed derivative depends on phi."""
    matrix, vector, start, cotangent = quadratic_problem(0)
    m = draw(1)(SIZE)
    path = adapt({"x": start}, [(matrix, vector)] * STEPS, _nonlinear, sgd(constant(RATE)), {"shift": {"m": m}})
    expected = torch.zeros(SIZE, dtype=torch.float64)
    for state in path[:-1]:

        def slope(value: Tensor, x: Tensor = state.params["x"]) -> Tensor:
            meta = {"shift": {"m": value}}
            return torch.func.grad(lambda x: _nonlinear({"x": x}, (matrix, vector), meta, 0)[0])(x)

        expected = expected - RATE * torch.func.jacrev(slope)(m).T @ cotangent
    result = _in_shift(first_order(signal_in_meta=True), _nonlinear)[1]
    torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-13)
    assert not torch.allclose(result, _in_shift(unrolled(), _nonlinear)[1])


def test_a_mode_under_which_a_group_learns_nothing_is_refused_by_its_name() -> None:
    rule = sgd(constant(RATE))
    with pytest.raises(ValueError, match=r"'first_order' .* discount, trace would learn nothing: choose 'unrolled'"):
        require_compatible(first_order(), rule, loss_groups=["discount", "trace"])
    for mode in (unrolled(), first_order(signal_in_meta=True)):
        require_compatible(mode, rule, loss_groups=["discount"])
    require_compatible(first_order(), rule)
    with pytest.raises(ValueError, match="discount would learn nothing"):
        adapt({}, [], lambda *about: (torch.zeros(()), ()), rule, mode=first_order(), loss_groups=["discount"])


def test_the_rule_named_in_a_refusal_is_the_one_that_was_given() -> None:
    with pytest.raises(ValueError, match="'proximal_sgd' only, got 'sgd of a part'"):
        require_compatible(implicit(), only(sgd(constant(RATE)), lambda name: True))
