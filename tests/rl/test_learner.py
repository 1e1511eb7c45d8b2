"""What adapts and at which rates: members of the family that must be MAML where their special part is switched off."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import Rule, final, first_order, initial_rates, learned_rates, listed, only, sgd, unrolled
from maml_rl.core.rules import named_rates
from maml_rl.core.tree import flatten
from maml_rl.core.types import Params
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policies import CONTEXT, PolicyConfig, gaussian_mlp, without_context
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.updates.meta_surrogate import MetaProblem
from maml_rl.systems.meta_policy_config import InnerConfig, adapts, rule_of
from tests.rl.reference import RATES, initial, make_batches, make_policy


def _learner(rule: Rule, mode: Any = None) -> PolicyLearner:
    return PolicyLearner(make_policy("gaussian"), rule, mode or unrolled(), INNER_LOSSES["log_probability"])


def _gradient_and_product(learner: PolicyLearner, theta: Params, steps: int = 2) -> tuple[Tensor, Tensor]:
    policy = make_policy("gaussian")
    batches = make_batches("gaussian", policy, initial(policy), steps, ragged=True)
    problem = MetaProblem(learner, theta, batches, final())
    flat = flatten(theta)
    problem.linearise(flat)
    return problem.gradient(), problem.product(torch.cos(torch.arange(len(flat), dtype=flat.dtype)))


@pytest.mark.parametrize("mode", [unrolled(), first_order()], ids=lambda mode: mode.name)
def test_anil_with_all_parameters_is_maml(mode: Any) -> None:
    theta = initial(make_policy("gaussian"))
    whole = InnerConfig(steps=2, rate=list(RATES))
    named = InnerConfig(steps=2, rate=list(RATES), adapts=["layer", "log_std"])
    found = [
        _gradient_and_product(_learner(rule_of(inner, make_policy("gaussian")), mode), theta)
        for inner in (whole, named)
    ]
    for maml, anil in zip(*found, strict=True):
        torch.testing.assert_close(anil, maml, rtol=1e-13, atol=1e-15)


def test_anil_moves_the_last_layer_and_the_spread_and_meta_learns_all() -> None:
    policy, inner = make_policy("gaussian"), InnerConfig(steps=2, rate=list(RATES), adapts="head")
    theta = initial(policy)
    learner = _learner(rule_of(inner, policy))
    batches = make_batches("gaussian", policy, theta, 2, ragged=False)
    path = learner.path(theta, [type(batch)(*(part[0] for part in batch)) for batch in batches[:2]])
    moved = {name for name in theta if not torch.equal(path[-1][name], theta[name])}
    assert moved == {"layer1.weight", "layer1.bias", "log_std"}
    problem = MetaProblem(learner, theta, [batches[0], *_resampled(learner, theta, batches)], final())
    problem.linearise(flatten(theta))
    gradient = problem.gradient()
    assert int((gradient != 0).sum()) > sum(theta[name].numel() for name in moved)
    for index in range(0, len(gradient), 4):
        step = torch.zeros_like(gradient)
        step[index] = 1e-5
        above, below = (problem.evaluate(flatten(theta) + sign * step)[0].mean() for sign in (1, -1))
        assert float((above - below) / 2e-5) == pytest.approx(float(gradient[index]), rel=1e-6, abs=1e-9)


def _resampled(learner: PolicyLearner, theta: Params, batches: list[Any]) -> list[Any]:
    """The later batches with the log-probabilities of the learner's own path."""
    found = list(batches)
    for step in range(1, len(batches)):
        log_probs = []
        for task in range(len(batches[0].weights)):
            data = [type(batch)(*(part[task] for part in batch)) for batch in found]
            params = learner.path(theta, data[:step])[-1]
            acts = learner.policy.act(params, data[step].observations)
            log_probs.append(acts.log_prob(data[step].actions).detach())
        found[step] = found[step]._replace(log_probs=torch.stack(log_probs))
    return found[1:]


@pytest.mark.parametrize("per_scalar", [False, True], ids=["per tensor and step", "Meta-SGD"])
def test_learned_rates_that_stay_as_they_start_are_maml(per_scalar: bool) -> None:
    theta = initial(make_policy("gaussian"))
    rate = [RATES[1]] * 2  # those of Meta-SGD are the same at each step
    rates = named_rates(initial_rates(theta, listed(rate), 2, per_scalar))
    count = sum(leaf.numel() for leaf in theta.values())
    policy = make_policy("gaussian")
    batches = make_batches("gaussian", policy, theta, 2, ragged=True)
    found = []
    for learner, start in ((_learner(sgd(listed(rate))), theta), (_learner(learned_rates()), theta | rates)):
        data = [batches[0], *_resampled(learner, start, batches)]
        problem = MetaProblem(learner, start, data, final())
        problem.linearise(flatten(start))
        found.append(problem.gradient())
    torch.testing.assert_close(found[1][:count], found[0], rtol=1e-12, atol=1e-14)
    assert float(found[1][count:].abs().max()) > 0
    assert len(found[1]) - count == (count if per_scalar else 2 * len(theta))


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
    theta = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    rule = rule_of(InnerConfig(steps=2, rate=[0.5], adapts="context"), policy)
    learner = PolicyLearner(policy, rule, unrolled(), INNER_LOSSES["log_probability"])
    plain = make_policy("gaussian")
    batches = make_batches("gaussian", plain, initial(plain), 2, ragged=False)
    batches = [batches[0], *_resampled(learner, theta, batches)]
    first = learner.policy.act(policy.fresh(theta), batches[0].observations).log_prob(batches[0].actions)
    batches[0] = batches[0]._replace(log_probs=first)
    path = learner.path(theta, [type(batch)(*(part[0] for part in batch)) for batch in batches[:2]])
    assert {name for name in path[0] if not torch.equal(path[0][name], path[-1][name])} == {CONTEXT}
    assert torch.equal(path[0][CONTEXT], torch.zeros(2, dtype=torch.float64))
    problem = MetaProblem(learner, theta, batches, final())
    problem.linearise(flatten(theta))
    gradient = problem.gradient()
    for index in range(0, len(gradient), 3):
        step = torch.zeros_like(gradient)
        step[index] = 1e-5
        above, below = (problem.evaluate(flatten(theta) + sign * step)[0].mean() for sign in (1, -1))
        assert float((above - below) / 2e-5) == pytest.approx(float(gradient[index]), rel=1e-6, abs=1e-9)


def test_a_part_of_a_rule_leaves_the_rest_without_a_gradient() -> None:
    seen = []

    def loss(params: Params, batch: Any, step: int) -> Tensor:
        return (params["a"] * params["b"]).sum()

    rule = only(sgd(listed([0.5])), lambda name: name == "a")
    inner = rule.observe

    def spying(*arguments: Any) -> Any:
        seen.append(inner(*arguments))
        return seen[-1]

    from maml_rl.core import adapt

    start = {"a": torch.tensor([1.0]), "b": torch.tensor([3.0])}
    path = adapt(start, [None], loss, rule._replace(observe=spying))
    assert list(seen[0]) == ["a"]
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
    assert [name for name in names if adapts(InnerConfig(adapts=["layer0"]), policy)(name)] == names[:2]
    assert [name for name in names if adapts(InnerConfig(adapts="head"), policy)(name)] == names[2:]
