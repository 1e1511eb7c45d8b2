"""What adapts and at which rates: members of the family that must be MAML where their special part is switched off."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import Rule, adapt, final, first_order, initial_rates, learned_rates, listed, only, sgd, unrolled
from maml_rl.core.rules import RATES as RATES_GROUP
from maml_rl.core.tree import flatten
from maml_rl.core.types import Meta, Params
from maml_rl.rl.losses import INNER_LOSSES, RLBatch
from maml_rl.rl.policies import CONTEXT, Policy, PolicyConfig, gaussian_mlp, without_context
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.updates.meta_surrogate import LinearisedSurrogate, MetaSurrogate
from maml_rl.systems.inner import InnerConfig, inner_rule, moves
from tests.rl.reference import RATES, initial, make_batches, make_policy, of_task, require_finite_differences, resampled


def _learner(rule: Rule, mode: Any = None, policy: Policy | None = None) -> PolicyLearner:
    policy = policy or make_policy("gaussian")
    return PolicyLearner(policy, rule, mode or unrolled(), INNER_LOSSES["log_probability"])


def _rule(policy: Policy, **values: Any) -> Rule:
    inner = InnerConfig(steps=2, **values)
    return inner_rule(inner, moves(inner, policy.head))


def _linearised(learner: PolicyLearner, meta: Meta, batches: list[RLBatch]) -> LinearisedSurrogate:
    return MetaSurrogate(learner, meta, batches, final()).linearise(flatten(meta))


@pytest.mark.parametrize("mode", [unrolled(), first_order()], ids=lambda mode: mode.name)
def test_anil_with_all_parameters_is_maml(mode: Any) -> None:
    policy = make_policy("gaussian")
    meta = {POLICY: initial(policy)}
    batches = make_batches("gaussian", policy, meta[POLICY], 2, ragged=True)
    rates = list(RATES)
    whole, named = (
        _linearised(_learner(_rule(policy, learning_rate=rates, adapts=adapts), mode), meta, batches)
        for adapts in ("all", ["layer", "log_std"])
    )
    torch.testing.assert_close(named.gradient(), whole.gradient(), rtol=1e-13, atol=1e-15)
    vector = torch.cos(torch.arange(len(flatten(meta)), dtype=torch.float64))
    torch.testing.assert_close(named.product(vector), whole.product(vector), rtol=1e-13, atol=1e-15)


def test_anil_moves_the_last_layer_and_the_spread_and_meta_learns_all() -> None:
    policy = make_policy("gaussian")
    theta = initial(policy)
    meta = {POLICY: theta}
    learner = _learner(_rule(policy, learning_rate=list(RATES), adapts="head"))
    batches = make_batches("gaussian", policy, theta, 2, ragged=False)
    path = learner.path(meta, [of_task(batch, 0) for batch in batches[:2]])
    moved = {name for name in theta if not torch.equal(path[-1][name], theta[name])}
    assert moved == {"layer1.weight", "layer1.bias", "log_std"}
    local = _linearised(learner, meta, resampled(learner, meta, batches))
    gradient = require_finite_differences(local, flatten(meta), every=4)
    assert int((gradient != 0).sum()) > sum(theta[name].numel() for name in moved)


@pytest.mark.parametrize("per_scalar", [False, True], ids=["per tensor and step", "Meta-SGD"])
def test_learned_rates_that_stay_as_they_start_are_maml(per_scalar: bool) -> None:
    policy = make_policy("gaussian")
    theta, rate = initial(policy), listed([RATES[1]] * 2)  # those of Meta-SGD are the same at each step
    plain: Meta = {POLICY: theta}
    learned: Meta = {**plain, RATES_GROUP: initial_rates(theta, rate, 2, per_scalar)}
    count = sum(leaf.numel() for leaf in theta.values())
    batches = make_batches("gaussian", policy, theta, 2, ragged=True)
    maml, ours = (
        _linearised(learner, meta, resampled(learner, meta, batches)).gradient()
        for learner, meta in ((_learner(sgd(rate)), plain), (_learner(learned_rates()), learned))
    )
    torch.testing.assert_close(ours[:count], maml, rtol=1e-12, atol=1e-14)
    assert float(ours[count:].abs().max()) > 0
    assert len(ours) - count == (count if per_scalar else 2 * len(theta))


def test_context_is_a_bias_of_the_first_layer() -> None:
    policy = gaussian_mlp(3, 2, hidden=(4,), activation="tanh", context=2)
    params = policy.fresh(policy.initial(torch.Generator().manual_seed(0), torch.float64))
    assert torch.equal(params[CONTEXT], torch.zeros(2, dtype=torch.float64))
    params[CONTEXT] = torch.tensor([0.3, -0.8], dtype=torch.float64)
    seen = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = torch.cat([seen, params[CONTEXT].expand(5, 2)], -1)
    hidden = torch.tanh(inputs @ params["layer0.weight"].T + params["layer0.bias"])
    expected = hidden @ params["layer1.weight"].T + params["layer1.bias"]
    torch.testing.assert_close(policy.act(params, seen).mode(), expected, rtol=1e-13, atol=1e-14)
    plain = gaussian_mlp(3, 2, hidden=(4,), activation="tanh")
    folded = without_context(params)
    assert CONTEXT not in folded
    torch.testing.assert_close(plain.act(folded, seen).mode(), expected, rtol=1e-13, atol=1e-14)
    many = {name: leaf.expand(3, *leaf.shape) for name, leaf in params.items()}
    torch.testing.assert_close(policy.act(many, seen.expand(3, 5, 3)).mode()[2], expected, rtol=1e-13, atol=1e-14)


def test_cavia_moves_the_context_alone_from_zero() -> None:
    policy = gaussian_mlp(3, 2, hidden=(4,), activation="tanh", initial_std=0.7, context=2)
    meta = {POLICY: policy.initial(torch.Generator().manual_seed(0), torch.float64)}
    learner = _learner(_rule(policy, learning_rate=0.5, adapts="context"), policy=policy)
    plain = make_policy("gaussian")
    batches = resampled(learner, meta, make_batches("gaussian", plain, initial(plain), 2, ragged=False))
    path = learner.path(meta, [of_task(batch, 0) for batch in batches[:2]])
    assert {name for name in path[0] if not torch.equal(path[0][name], path[-1][name])} == {CONTEXT}
    assert torch.equal(path[0][CONTEXT], torch.zeros(2, dtype=torch.float64))
    require_finite_differences(_linearised(learner, meta, batches), flatten(meta), every=3)


def test_a_part_of_a_rule_leaves_the_rest_without_a_gradient() -> None:
    signals = []

    def loss(params: Params, batch: Any, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        return (params["a"] * params["b"]).sum(), ()

    rule = only(sgd(listed([0.5])), lambda name: name == "a")

    def spying(*arguments: Any) -> Any:
        signals.append(rule.observe(*arguments))
        return signals[-1]

    start = {"a": torch.tensor([1.0]), "b": torch.tensor([3.0])}
    path = adapt(start, [None], loss, rule._replace(observe=spying))
    assert list(signals[0][0]) == ["a"]
    assert list(path[1].params) == ["a", "b"]
    assert float(path[1].params["a"]) == 1.0 - 0.5 * 3.0
    assert path[1].params["b"] is start["b"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InnerConfig(adapts=[]), "at least one parameter"),
        (lambda: InnerConfig(steps=0, learned_rates="per_scalar"), "needs inner steps"),
        (lambda: PolicyConfig(context=-1), "policy.context"),
    ],
)
def test_impossible_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_names_of_what_adapts() -> None:
    policy = make_policy("gaussian")
    names = list(initial(policy))
    assert [name for name in names if moves(InnerConfig(adapts=["layer0"]), policy.head)(name)] == names[:2]
    assert [name for name in names if moves(InnerConfig(adapts="head"), policy.head)(name)] == names[2:]
