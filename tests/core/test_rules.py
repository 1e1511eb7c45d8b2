"""Inner update rules against `torch.optim` and finite differences."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from maml_rl.core import Rule, adapt, constant, initial_rates, learned_rates, listed, only, proximal_sgd, sgd
from maml_rl.core.rules import adam, momentum
from maml_rl.core.types import Params
from tests.core.problems import tanh_loss, tanh_problem

RATE = 0.05
RULES: dict[str, tuple[Rule, Callable[[list[Tensor]], torch.optim.Optimizer]]] = {
    "sgd": (sgd(constant(RATE)), lambda leaves: torch.optim.SGD(leaves, RATE)),
    "momentum": (momentum(constant(RATE), 0.8), lambda leaves: torch.optim.SGD(leaves, RATE, momentum=0.8)),
    "nesterov": (
        momentum(constant(RATE), 0.8, nesterov=True),
        lambda leaves: torch.optim.SGD(leaves, RATE, momentum=0.8, nesterov=True),
    ),
    "adam": (
        adam(constant(RATE), 0.7, 0.9, 1e-3),
        lambda leaves: torch.optim.Adam(leaves, RATE, betas=(0.7, 0.9), eps=1e-3),
    ),
}


@pytest.mark.parametrize(("rule", "theirs"), RULES.values(), ids=RULES)
def test_rules_move_like_torchs(rule: Rule, theirs: Callable[[list[Tensor]], torch.optim.Optimizer]) -> None:
    params, batch = tanh_problem()
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    optimiser = theirs(list(leaves.values()))
    for state in adapt(params, [batch] * 4, tanh_loss, rule)[1:]:
        optimiser.zero_grad()
        tanh_loss(leaves, batch, {}, 0)[0].backward()
        optimiser.step()
        for name, leaf in leaves.items():
            torch.testing.assert_close(state.params[name], leaf.detach(), rtol=1e-11, atol=1e-13)


def test_the_steps_rate_is_the_schedules() -> None:
    params, batch = tanh_problem()
    rates = [0.3, 0.1, 0.2]
    for make in (momentum, adam, sgd, lambda schedule: proximal_sgd(schedule, 1.0)):
        own = adapt(params, [batch] * 3, tanh_loss, make(listed(rates)))
        state = own[0]
        for index, rate in enumerate(rates):
            state = adapt(state, [batch], tanh_loss, make(constant(rate)), first_step=index)[-1]
        assert torch.equal(own[-1].params["a"], state.params["a"])


@pytest.mark.parametrize("rule", [entry[0] for entry in RULES.values()], ids=RULES)
def test_meta_gradients_through_three_steps_are_those_of_finite_differences(rule: Rule) -> None:
    params, batch = tanh_problem()
    query = tanh_problem(1)[1]

    def meta_loss(a: Tensor, b: Tensor) -> Tensor:
        return tanh_loss(adapt({"a": a, "b": b}, [batch] * 3, tanh_loss, rule)[-1].params, query, {}, 0)[0]

    inputs = tuple(leaf.clone().requires_grad_() for leaf in params.values())
    assert torch.autograd.gradcheck(meta_loss, inputs, eps=1e-6, atol=1e-8)


def test_adams_derivative_is_finite_where_a_gradient_is_zero() -> None:
    """x^4 at 0 has the gradient 4 x^3 = 0, which depends on x."""
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def adapted(x: Tensor) -> Tensor:
        path = adapt({"x": x}, [()] * 2, lambda p, *_: (p["x"].pow(4).sum(), ()), adam(constant(RATE)))
        return path[-1].params["x"].sum()

    assert bool(torch.func.grad(adapted)(start).isfinite().all())


def test_impossible_decays_are_refused() -> None:
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match="decay"):
            momentum(constant(RATE), wrong)
        with pytest.raises(ValueError, match="decays"):
            adam(constant(RATE), beta1=wrong)
    with pytest.raises(ValueError, match="epsilon"):
        adam(constant(RATE), epsilon=0.0)


def test_rates_that_start_like_a_schedule_move_like_it() -> None:
    params, batch = tanh_problem()
    schedule = listed([0.3, 0.2, 0.1])
    plain = adapt(params, [batch] * 5, tanh_loss, sgd(schedule))[-1]
    learned = adapt(params, [batch] * 5, tanh_loss, learned_rates(), {"rates": initial_rates(params, schedule, 3)})[-1]
    for name in params:
        torch.testing.assert_close(learned.params[name], plain.params[name], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("per_scalar", [False, True])
def test_rates_have_the_gradient_of_finite_differences(per_scalar: bool) -> None:
    params, batch = tanh_problem()
    rates = initial_rates(params, constant(0.2), 2, per_scalar)

    def meta_loss(rate_a: Tensor, rate_b: Tensor) -> Tensor:
        meta = {"rates": {"a": rate_a, "b": rate_b}}
        return tanh_loss(adapt(params, [batch] * 3, tanh_loss, learned_rates(), meta)[-1].params, batch, {}, 0)[0]

    inputs = tuple(leaf.clone().requires_grad_() for leaf in rates.values())
    assert torch.autograd.gradcheck(meta_loss, inputs, eps=1e-6, atol=1e-8)


def test_rates_need_steps() -> None:
    with pytest.raises(ValueError, match="at least one"):
        initial_rates({"a": torch.zeros(2)}, constant(0.1), 0)


@pytest.mark.parametrize("rule", [RULES["momentum"][0], RULES["adam"][0]], ids=["momentum", "adam"])
def test_a_rule_on_a_part_leaves_the_rest_and_differentiates_in_all(rule: Rule) -> None:
    params, batch = tanh_problem()
    part = only(rule, lambda name: name == "b")
    path = adapt(params, [batch] * 3, tanh_loss, part)
    assert all(state.params["a"] is params["a"] for state in path)
    assert all(not torch.equal(one.params["b"], two.params["b"]) for one, two in pairwise(path))

    def meta_loss(a: Tensor, b: Tensor) -> Tensor:
        reached: Params = adapt({"a": a, "b": b}, [batch] * 2, tanh_loss, part)[-1].params
        return tanh_loss(reached, batch, {}, 0)[0]

    inputs = tuple(leaf.clone().requires_grad_() for leaf in params.values())
    assert torch.autograd.gradcheck(meta_loss, inputs, eps=1e-6, atol=1e-8)
