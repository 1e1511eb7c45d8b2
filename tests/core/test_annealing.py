"""Annealed objectives and orders, learned rates, Adam: values at given epochs, finite differences, PyTorch itself."""

import math

import pytest
import torch
from torch import Tensor

from maml_rl.core import (
    adam_start,
    adam_step,
    adapt,
    annealed,
    annealed_order,
    constant,
    cosine,
    final,
    initial_rates,
    learned_rates,
    listed,
    sgd,
    uniform,
)
from maml_rl.core.types import Params


def test_weights_at_given_epochs() -> None:
    weights = [point.weight for point in annealed(5, 10).points(5)]
    torch.testing.assert_close(torch.tensor(weights), torch.tensor([0.1, 0.1, 0.1, 0.1, 0.6]))
    # Near the end the floor of 0.03 / N holds: 1/N - e/(N E) = 0.0004 at e = 9.98.
    late = [point.weight for point in annealed(998, 1000).points(5)]
    torch.testing.assert_close(torch.tensor(late), torch.tensor([0.006] * 4 + [0.976]))


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("epoch", [0, 1, 5, 9])
def test_weights_sum_to_one(epoch: int, steps: int) -> None:
    points = annealed(epoch, 10).points(steps)
    assert [point.step for point in points] == list(range(1, steps + 1))
    assert math.isclose(sum(point.weight for point in points), 1.0, abs_tol=1e-15)


def test_it_begins_uniform_and_ends_final() -> None:
    for steps in (1, 3, 5):
        for ours, plain in zip(annealed(0, 10).points(steps), uniform().points(steps), strict=True):
            assert ours.step == plain.step
            assert math.isclose(ours.weight, plain.weight, rel_tol=1e-15)
        for epoch in (10, 11, 500):
            assert annealed(epoch, 10).points(steps) == final().points(steps)
    assert annealed(0, 0).points(3) == final().points(3)
    with pytest.raises(ValueError, match="at least one"):
        annealed(0, 10).points(0)


def test_the_order_switches_after_its_epoch() -> None:
    assert [annealed_order(e, 50).name for e in (0, 49, 50, 51)] == ["first_order"] * 3 + ["unrolled"]
    assert annealed_order(0, 0).name == "unrolled"


def _loss(params: Params, batch: Tensor, step: int) -> Tensor:
    return (torch.tanh(batch @ params["a"]) @ params["b"]).square().mean()


def _problem() -> tuple[Params, Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return {"a": draw(3, 4), "b": draw(4)}, draw(6, 3)


def test_rates_that_start_like_a_schedule_move_like_it() -> None:
    params, batch = _problem()
    schedule = listed([0.3, 0.2, 0.1])
    rates = initial_rates(params, schedule, 3)
    learned = adapt(params, [batch] * 5, _loss, learned_rates(), rates)
    plain = adapt(params, [batch] * 5, _loss, sgd(schedule))
    for name in params:
        torch.testing.assert_close(learned[-1].params[name], plain[-1].params[name], rtol=1e-14, atol=1e-15)


def test_rates_have_the_gradient_of_finite_differences() -> None:
    params, batch = _problem()
    rates = initial_rates(params, constant(0.2), 2)

    def meta_loss(rate_a: Tensor, rate_b: Tensor) -> Tensor:
        path = adapt(params, [batch] * 3, _loss, learned_rates(), {"a": rate_a, "b": rate_b})
        return _loss(path[-1].params, batch, 0)

    inputs = tuple(rates[name].clone().requires_grad_() for name in ("a", "b"))
    assert torch.autograd.gradcheck(meta_loss, inputs, eps=1e-6, atol=1e-8)


def test_rates_need_steps() -> None:
    with pytest.raises(ValueError, match="at least one"):
        initial_rates({"a": torch.zeros(2)}, constant(0.1), 0)


def test_adam_is_pytorchs() -> None:
    generator = torch.Generator().manual_seed(1)
    params = {"a": torch.randn(3, 2, generator=generator), "b": torch.randn(4, generator=generator)}
    theirs = [leaf.clone().requires_grad_() for leaf in params.values()]
    optimiser = torch.optim.Adam(theirs, lr=1e-2)
    state, before = adam_start(params), {name: leaf.clone() for name, leaf in params.items()}
    ours = params
    for _ in range(5):
        gradients = {name: torch.randn(leaf.shape, generator=generator) for name, leaf in params.items()}
        for leaf, gradient in zip(theirs, gradients.values(), strict=True):
            leaf.grad = gradient.clone()
        optimiser.step()
        ours, state = adam_step(ours, gradients, state, 1e-2)
    for leaf, other in zip(ours.values(), theirs, strict=True):
        assert torch.equal(leaf, other)
    assert all(torch.equal(params[name], before[name]) for name in params)


def test_cosine_annealing() -> None:
    assert cosine(1e-3, 1e-5, 0.0) == 1e-3
    assert math.isclose(cosine(1e-3, 1e-5, 0.5), (1e-3 + 1e-5) / 2)
    assert math.isclose(cosine(1e-3, 1e-5, 1.0), 1e-5)
    assert math.isclose(cosine(1e-3, 1e-5, 7.0), 1e-5)
