"""Estimators that differentiate: against autograd by hand, finite differences and closed forms, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core.estimators import Carry, Lifetimes, Problem, bootstrapped, full_unroll, truncated_unroll
from maml_rl.core.tree import detach, flatten, map_tree, unflatten
from maml_rl.core.types import Meta
from tests.core.lifetime_problems import DESCENT, descent_data, descent_theta, seeded

COUNT, LENGTH = 3, 12
LIFETIMES = Lifetimes(COUNT, LENGTH, staggered=False)


def _by_hand(seeds: Tensor, data: dict[str, Tensor], start: int, stop: int, cut: int | None) -> Meta:
    """The mean over lifetimes of the gradient of sum_{start <= k < stop} loss_k; the carry is cut before step `cut`."""
    theta = map_tree(Tensor.requires_grad_, descent_theta())
    total = torch.zeros((), dtype=torch.float64)
    for n, seed in enumerate(seeds):
        carry = DESCENT.begin(theta, seed)
        for k in range(stop):
            carry = detach(carry) if k == cut else carry
            datum = {name: leaf[n, k] for name, leaf in data.items()}
            carry, loss = DESCENT.step(theta, carry, datum, torch.tensor(k))
            total = total + (loss if k >= start else 0.0)
    leaves = [leaf for group in theta.values() for leaf in group.values()]
    slopes = torch.autograd.grad(total / len(seeds), leaves, materialize_grads=True)
    return unflatten(flatten(slopes), descent_theta())


def test_the_full_unroll_is_autograd_by_hand() -> None:
    estimator, data = full_unroll(DESCENT, Lifetimes(COUNT, LENGTH)), descent_data(1, COUNT, LENGTH)
    result = estimator.estimate(descent_theta(), estimator.init(descent_theta(), seeded(0)), data, seeded(2))
    expected = _by_hand(result.memory["carry"]["seed"], data, 0, LENGTH, None)
    torch.testing.assert_close(result.gradient, map_tree(lambda leaf: leaf / LENGTH, expected), rtol=1e-11, atol=1e-12)
    assert float(flatten(expected).abs().min()) > 1e-2


def test_the_full_unroll_is_the_finite_difference_of_its_meta_loss() -> None:
    estimator, data, theta = full_unroll(DESCENT, LIFETIMES), descent_data(1, COUNT, LENGTH), descent_theta()
    memory = estimator.init(theta, seeded(0))
    slope = flatten(estimator.estimate(theta, memory, data, seeded(2)).gradient)

    def meta_loss(point: Tensor) -> float:
        return estimator.estimate(unflatten(point, theta), memory, data, seeded(2)).metrics["meta_loss"]

    for direction in torch.eye(len(slope), dtype=torch.float64):
        ahead, behind = (meta_loss(flatten(theta) + side * 1e-5 * direction) for side in (1, -1))
        assert (ahead - behind) / 2e-5 == pytest.approx(float(slope @ direction), rel=1e-7, abs=1e-8)


def test_a_truncated_unroll_of_a_whole_lifetime_is_the_full_one_to_the_bit() -> None:
    data, theta = descent_data(1, COUNT, LENGTH), descent_theta()
    pair = full_unroll(DESCENT, LIFETIMES), truncated_unroll(DESCENT, LIFETIMES, LENGTH)
    one, other = (each.estimate(theta, each.init(theta, seeded(0)), data, seeded(2)) for each in pair)
    assert torch.equal(flatten(one.gradient), flatten(other.gradient))
    assert torch.equal(one.losses, other.losses)
    assert one.metrics == other.metrics


@pytest.mark.parametrize("length", [12, 10])
def test_truncated_unrolls_take_the_carry_between_them_for_a_constant(length: int) -> None:
    """Two unrolls of 6 steps; a lifetime of 10 ends within the second one."""
    estimator = truncated_unroll(DESCENT, Lifetimes(COUNT, length, staggered=False), 6)
    data, theta = descent_data(1, COUNT, 12), descent_theta()
    memory = estimator.init(theta, seeded(0))
    for start, stop in ((0, 6), (6, length)):
        part = map_tree(lambda leaf, start=start: leaf[:, start : start + 6], data)
        result = estimator.estimate(theta, memory, part, seeded(2 + start))
        memory = result.memory
        expected = _by_hand(memory["carry"]["seed"], data, start, stop, start or None)
        torch.testing.assert_close(result.gradient, map_tree(lambda leaf: leaf / 6, expected), rtol=1e-11, atol=1e-12)
    assert memory["step"].tolist() == [0] * COUNT
    cut, whole = (_by_hand(memory["carry"]["seed"], data, 6, 12, at) for at in (6, None))
    assert float((flatten(cut) - flatten(whole)).abs().max()) > 1e-2


A, ALPHA, W = 0.7, 0.3, 0.4
"""Curvature, the target's own rate, and the learned one."""


def _shrink(theta: Meta, carry: Carry, data: Tensor, k: Tensor) -> tuple[Carry, Tensor]:
    x = carry["x"] * (1 - theta["rule"]["w"] * A)
    return {**carry, "x": x}, 0.5 * A * x.square()


SHRINKING = Problem(lambda theta, seed: {"x": 1 + (seed % 7).double(), "start": 1 + (seed % 7).double()}, _shrink)
"""x_{k+1} = (1 - w A) x_k: gradient descent on A x^2 / 2 with a learned rate w."""


def _bootstrap(steps: int, target_steps: int, length: int, **changes: Any) -> Any:
    def descend(theta: Meta, carry: Carry, data: Tensor, k: Tensor) -> Carry:
        return {**carry, "x": carry["x"] * (1 - ALPHA * A)}

    def match(target: Carry, reached: Carry, data: Tensor) -> Tensor:
        return 0.5 * data * target["x"] * (target["x"] - reached["x"]).square()

    estimator = bootstrapped(SHRINKING, Lifetimes(4, length, staggered=False), steps, target_steps, descend, match)
    theta = {"rule": {"w": torch.tensor(W, dtype=torch.float64)}}
    data = torch.arange(1.0, estimator.steps + 1, dtype=torch.float64).expand(4, -1)
    return estimator.estimate(theta, {**estimator.init(theta, seeded(0)), **changes}, data, seeded(1))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("target_steps", [1, 2, 4])
def test_the_bootstrapped_gradient_has_its_closed_form(steps: int, target_steps: int) -> None:
    """With r = 1 - w A: x_K = x_0 r^K, y = r^{L-1} (1 - alpha A) x_K, g = d y (x_K - y) (-A K x_0 r^{K-1})."""
    result = _bootstrap(steps, target_steps, 100)
    start, r = result.memory["carry"]["start"], 1 - W * A
    reached = start * r**steps
    target = reached * r ** (target_steps - 1) * (1 - ALPHA * A)
    slopes = (steps + target_steps) * target * (reached - target) * (-A * steps * start * r ** (steps - 1))
    torch.testing.assert_close(result.gradient["rule"]["w"], slopes.mean(), rtol=1e-12, atol=0.0)
    assert len(set(start.tolist())) > 1
    matching = 0.5 * (steps + target_steps) * target * (target - reached).square()
    assert result.metrics["matching_loss"] == pytest.approx(float(matching.mean()), rel=1e-12)
    torch.testing.assert_close(result.memory["carry"]["x"], reached * r ** (target_steps - 1), rtol=1e-12, atol=0.0)
    assert result.memory["step"].tolist() == [steps + target_steps - 1] * 4


def test_a_target_beyond_the_end_of_a_lifetime_stays_where_that_ended() -> None:
    ends_at_once, ends_on_the_way = _bootstrap(3, 4, 3), _bootstrap(3, 4, 5)
    assert float(ends_at_once.gradient["rule"]["w"]) == 0.0
    start, r = ends_on_the_way.memory["carry"]["start"], 1 - W * A
    slopes = 7 * start * r**5 * start * r**3 * (1 - r**2) * (-A * 3 * start * r**2)
    torch.testing.assert_close(ends_on_the_way.gradient["rule"]["w"], slopes.mean(), rtol=1e-12, atol=0.0)
    assert ends_at_once.memory["step"].tolist() == ends_on_the_way.memory["step"].tolist() == [0] * 4
