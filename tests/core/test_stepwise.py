"""An unroll that is differentiated step by step against the same unroll in one piece."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maml_rl.core.estimators import Estimator, Lifetimes, full_unroll
from maml_rl.core.tree import expand, flatten, map_tree
from maml_rl.core.types import Meta
from tests.compiler import needs_compiler
from tests.core.lifetime_problems import DESCENT, descent_data, descent_theta, estimators, seeded

COUNT, STEPS, LIFETIMES = 6, 5, Lifetimes(6, 7, loss_limit=1e6)
BY_STEPS = ("truncated_unroll", "bootstrapped", "evolution_strategies", "persistent_evolution_strategies")


def _theta(lifetimes: Lifetimes) -> Meta:
    theta = descent_theta()
    if not lifetimes.apart:
        return theta
    shift = torch.linspace(0, 0.3, COUNT, dtype=torch.float64)
    return map_tree(lambda leaf: leaf + shift.view(-1, *[1] * (leaf.dim() - 1)), expand(theta, COUNT))


def _lived(estimator: Estimator, theta: Meta, calls: int = 4) -> list[tuple[Tensor, dict[str, float]]]:
    """Gradients, memories and losses of some estimates, over ends of lifetimes and one that diverges."""
    memory, results = estimator.init(theta, seeded(0)), []
    for call in range(calls):
        data = descent_data(call, COUNT, estimator.steps)
        data["poison"][2, 1, 0] = float("nan") if call == 1 else 0.0
        estimate = estimator.estimate(theta, memory, data, seeded(call))
        memory = estimate.memory
        everything = map_tree(Tensor.double, (estimate.gradient, memory, estimate.losses))
        results.append((flatten(everything).nan_to_num(7.25), estimate.metrics))
    return results


def _require_same(lifetimes: Lifetimes, name: str) -> None:
    theta, ways = _theta(lifetimes), (lifetimes, replace(lifetimes, stepwise=True))
    for (expected, told), (vector, metrics) in zip(
        *(_lived(estimators(way)[name], theta) for way in ways), strict=True
    ):
        torch.testing.assert_close(vector, expected, rtol=1e-11, atol=1e-12)
        assert metrics == pytest.approx(told)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", BY_STEPS)
def test_step_by_step_is_the_same_gradient(name: str, apart: bool) -> None:
    _require_same(replace(LIFETIMES, apart=apart), name)


@pytest.mark.parametrize("name", BY_STEPS)
def test_steps_may_be_recorded(name: str) -> None:
    _require_same(replace(LIFETIMES, traced=True), name)


@pytest.mark.slow
@needs_compiler
def test_steps_may_be_compiled() -> None:
    _require_same(replace(LIFETIMES, compiled=True, apart=True), "bootstrapped")


def test_whole_lifetimes_step_by_step() -> None:
    """From the very beginning, which is a function of theta too."""
    theta, data = descent_theta(), descent_data(1, COUNT, 7)
    whole, by_steps = (full_unroll(DESCENT, replace(LIFETIMES, stepwise=on)) for on in (False, True))
    one, two = (each.estimate(theta, each.init(theta, seeded(3)), data, seeded(4)) for each in (whole, by_steps))
    torch.testing.assert_close(two.gradient, one.gradient, rtol=1e-11, atol=1e-12)
    assert one.gradient["start"]["x"].abs().min() > 1e-3
