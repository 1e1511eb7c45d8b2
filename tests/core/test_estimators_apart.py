"""Lifetimes with meta-parameters of their own: each gets what it would get alone, and nothing of the others."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from maml_rl.core.estimators import Lifetimes, present, truncated_unroll
from maml_rl.core.tree import expand, flatten, map_tree
from maml_rl.core.types import Meta
from tests.core.lifetime_problems import DESCENT, ESTIMATORS, descent_data, descent_theta, estimators, seeded

COUNT, STEPS, SICK = 4, 5, 2
LIFETIMES = Lifetimes(COUNT, 7, loss_limit=1e6)
APART = estimators(replace(LIFETIMES, apart=True))
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def _own_thetas() -> Meta:
    """A theta for each lifetime, [N, ...] a leaf."""
    base = map_tree(lambda leaf: leaf.clone(), expand(descent_theta(), COUNT))
    return map_tree(lambda leaf: leaf + 0.2 * torch.randn(leaf.shape, generator=seeded(5), dtype=leaf.dtype), base)


def _of(tree: Any, n: int) -> Any:
    return map_tree(lambda leaf: leaf[n], tree)


def _require_close(one: Any, other: Any) -> None:
    for ours, wanted in zip(tree_leaves(one), tree_leaves(other), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-11, atol=1e-12)


@every_estimator
def test_each_gets_what_it_gets_where_all_have_its_theta(name: str) -> None:
    """Over lifetimes that end and begin anew; the mean of the gradients is that of lifetimes that share theta."""
    mixed, shared, thetas = APART[name], estimators(LIFETIMES)[name], _own_thetas()
    memory = mixed.init(thetas, seeded(0))
    alone = [shared.init(_of(thetas, n), seeded(0)) for n in range(COUNT)]
    alike = [mixed.init(expand(_of(thetas, n), COUNT), seeded(0)) for n in range(COUNT)]
    for call in range(4):
        data = descent_data(call, COUNT, STEPS)
        result = mixed.estimate(thetas, memory, data, seeded(call))
        memory = result.memory
        for n in range(COUNT):
            single = shared.estimate(_of(thetas, n), alone[n], data, seeded(call))
            same = mixed.estimate(expand(_of(thetas, n), COUNT), alike[n], data, seeded(call))
            _require_close(_of(result.gradient, n), _of(same.gradient, n))
            _require_close(_of(result.memory, n), _of(single.memory, n))
            _require_close(result.losses[n], single.losses[n])
            _require_close(map_tree(lambda leaf: leaf.mean(0), same.gradient), single.gradient)
            alone[n], alike[n] = single.memory, same.memory
    assert len({tuple(flatten(_of(result.gradient, n)).tolist()) for n in range(COUNT)}) > 2


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if not name.endswith("evolution_strategies")])
def test_those_without_noise_are_as_many_estimators_of_one_lifetime(name: str) -> None:
    mixed, single, thetas = APART[name], estimators(replace(LIFETIMES, count=1))[name], _own_thetas()
    memory, data = mixed.init(thetas, seeded(0)), [descent_data(call, COUNT, STEPS) for call in range(2)]
    memory = mixed.estimate(thetas, memory, data[0], seeded(0)).memory
    result = mixed.estimate(thetas, memory, data[1], seeded(1))
    for n in range(COUNT):
        part = map_tree(lambda leaf, n=n: leaf[n : n + 1], (memory, data[1]))
        own = single.estimate(_of(thetas, n), *part, seeded(1))
        _require_close(_of(result.gradient, n), own.gradient)
        _require_close(_of(result.memory["carry"], n), _of(own.memory["carry"], 0))
        _require_close(result.losses[n], own.losses[0])


@every_estimator
def test_one_that_diverges_has_no_gradient_and_changes_nothing_for_the_others(name: str) -> None:
    estimator, thetas = APART[name], _own_thetas()
    memory = estimator.estimate(
        thetas, estimator.init(thetas, seeded(0)), descent_data(0, COUNT, STEPS), seeded(0)
    ).memory
    memory, others = {**memory, "end": torch.full((COUNT,), 50)}, [n for n in range(COUNT) if n != SICK]
    healthy = estimator.estimate(thetas, memory, descent_data(1, COUNT, STEPS), seeded(1))
    for entry, value in ((0, float("nan")), (1, float("inf")), (1, 1e9)):
        data = descent_data(1, COUNT, STEPS)
        data["poison"][SICK, 1, entry] = value
        sick = estimator.estimate(thetas, memory, data, seeded(1))
        for one, other in zip(
            tree_leaves((sick.gradient, sick.memory, sick.losses)),
            tree_leaves((healthy.gradient, healthy.memory, healthy.losses)),
            strict=True,
        ):
            assert torch.equal(one[others], other[others])
        assert float(flatten(_of(sick.gradient, SICK)).abs().max()) == 0.0
        assert sick.metrics["diverged"] == 1
        assert int(sick.memory["step"][SICK]) == 0
        after = estimator.estimate(thetas, sick.memory, descent_data(2, COUNT, STEPS), seeded(2))
        assert after.metrics["diverged"] == 0
        assert float(flatten(_of(after.gradient, SICK)).abs().max()) > 0


@every_estimator
def test_the_theta_of_others_changes_not_a_bit(name: str) -> None:
    estimator, thetas = APART[name], _own_thetas()
    changed = map_tree(lambda leaf: torch.cat([leaf[:SICK], leaf[SICK : SICK + 1] + 0.1, leaf[SICK + 1 :]]), thetas)
    memory, data = estimator.init(thetas, seeded(0)), descent_data(0, COUNT, STEPS)
    one, other = (estimator.estimate(each, memory, data, seeded(1)) for each in (thetas, changed))
    for n in range(COUNT):
        same = torch.equal(flatten(_of(one.gradient, n)), flatten(_of(other.gradient, n)))
        assert same == (n != SICK)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_the_present_is_the_carry_that_the_next_estimate_starts_from(apart: bool, traced: bool) -> None:
    """One step from it by hand reaches what an estimate of one step does; also for lifetimes that begin anew."""
    lifetimes = replace(LIFETIMES, apart=apart, traced=traced)
    estimator = truncated_unroll(DESCENT, lifetimes, 1)
    thetas = _own_thetas()
    theta = thetas if apart else _of(thetas, 0)
    memory, where = estimator.init(theta, seeded(0)), present(DESCENT, lifetimes)
    begun = 0
    for call in range(9):
        theta = map_tree(lambda leaf: leaf - 0.01, theta)
        data, carry = descent_data(call, COUNT, 1), where(theta, memory)
        result = estimator.estimate(theta, memory, data, seeded(call))
        for n in range(COUNT):
            own = _of(theta, n) if apart else theta
            datum = map_tree(lambda leaf, n=n: leaf[n, 0], data)
            reached, loss = DESCENT.step(own, _of(carry, n), datum, memory["step"][n])
            _require_close(_of(result.memory["carry"], n), reached)
            _require_close(result.losses[n], loss)
            if memory["step"][n] == 0:
                begun += call > 0
                _require_close(_of(carry, n), DESCENT.begin(own, memory["seed"][n]))
            else:
                assert torch.equal(_of(carry, n)["x"], memory["carry"]["x"][n])
        memory = result.memory
    assert begun > 2
    assert not any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in tree_leaves(carry))
