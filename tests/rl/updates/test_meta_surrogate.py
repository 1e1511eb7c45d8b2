"""Laws of the meta-surrogate and its trust-region step in float64, against plain loops and finite differences."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import TrustRegion, Update, first_order, trust_region, uniform, unrolled, weighted
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Params
from maml_rl.rl.losses import RLBatch, thinned
from maml_rl.rl.policy_learner import POLICY
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from maml_rl.rl.updates.sampler_agreement import SamplerMismatchError
from tests.rl import reference

CASES = [
    (family, mode, steps)
    for family in ("gaussian", "categorical")
    for mode in (unrolled(), first_order())
    for steps in (0, 1, 3)
]


def _setup(
    family: str, mode: Any, steps: int, objective: Any = None, ragged: bool = True, chunk: int = 2
) -> tuple[MetaSurrogate, Params, list[RLBatch]]:
    policy = reference.make_policy(family)
    params = reference.initial(policy)
    batches = reference.make_batches(family, policy, params, steps, ragged)
    return reference.make_problem(policy, params, batches, mode, objective, chunk), params, batches


def _stepped(problem: MetaSurrogate, params: Params, settings: TrustRegion) -> Update:
    return trust_region(settings).update({POLICY: params}, {}, problem, 0)


def _final(steps: int) -> list[float]:
    return [0.0] * steps + [1.0]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("family", "mode", "steps"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_curvature_product_is_the_double_derivative_of_the_divergence(
    family: str, mode: Any, steps: int, ragged: bool
) -> None:
    problem, params, batches = _setup(family, mode, steps, ragged=ragged)
    _, divergence = reference.objective(family, params, batches, mode.name == "first_order", _final(steps))
    theta = flatten(params)
    product = problem.linearise(theta).product
    vector = torch.randn(theta.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    _, expected = torch.autograd.functional.hvp(divergence, theta, vector)
    torch.testing.assert_close(product(vector), expected, rtol=1e-9, atol=1e-12)
    assert float(vector @ product(vector)) > 0


@pytest.mark.parametrize(("family", "mode", "steps"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_meta_gradient_and_values_equal_the_loops(family: str, mode: Any, steps: int) -> None:
    problem, params, batches = _setup(family, mode, steps)
    surrogate, divergence = reference.objective(family, params, batches, mode.name == "first_order", _final(steps))
    theta = flatten(params)
    local = problem.linearise(theta)
    (expected,) = torch.autograd.grad(surrogate(theta.requires_grad_()), theta)
    torch.testing.assert_close(local.gradient(), expected, rtol=1e-9, atol=1e-13)
    moved = (theta + 0.05 * torch.cos(torch.arange(len(theta)))).detach()
    for losses, divergences in (local.anchored.evaluate(moved), problem.anchor(theta.detach()).evaluate(moved)):
        torch.testing.assert_close(losses.mean(), surrogate(moved.requires_grad_()).detach(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(divergences.mean(), divergence(moved).detach(), rtol=1e-9, atol=1e-12)
    assert local.values(moved.detach()) == pytest.approx((float(losses.mean()), float(divergences.mean())), rel=1e-12)


@pytest.mark.parametrize("family", ["gaussian", "categorical"])
@pytest.mark.parametrize("steps", [1, 3])
def test_unrolled_meta_gradient_equals_finite_differences(family: str, steps: int) -> None:
    problem, params, _ = _setup(family, unrolled(), steps)
    theta = flatten(params)
    reference.require_finite_differences(problem.linearise(theta), theta, every=3)


@pytest.mark.parametrize("objective", [uniform(), weighted([0.2, 0.0, 0.5, 0.3])], ids=lambda value: value.name)
def test_per_step_objectives_equal_the_loops(objective: Any) -> None:
    problem, params, batches = _setup("gaussian", unrolled(), 3, objective)
    weights = {point.step: point.weight for point in objective.points(3)}
    surrogate, divergence = reference.objective(
        "gaussian", params, batches, False, [weights.get(step, 0.0) for step in range(4)]
    )
    theta = flatten(params)
    local = problem.linearise(theta)
    vector = torch.cos(torch.arange(len(theta), dtype=torch.float64))
    _, expected = torch.autograd.functional.hvp(divergence, theta, vector)
    torch.testing.assert_close(local.product(vector), expected, rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(surrogate(theta.requires_grad_()), theta)
    torch.testing.assert_close(local.gradient(), gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_ratio_is_exactly_one_and_divergence_exactly_zero_before_the_first_step(steps: int) -> None:
    problem, params, batches = _setup("gaussian", unrolled(), steps)
    theta = flatten(params)
    local = problem.linearise(theta)
    for chunk in local.anchored.chunks:
        with torch.no_grad():
            new = problem.distributions(problem.adapted_tensors(chunk.batches, theta))
        for target, acts in zip(chunk.targets, new, strict=True):
            ratio = (acts.log_prob(target.batch.actions) - target.old_log_probs).exp()
            assert torch.equal(ratio, torch.ones_like(ratio))
    losses, divergences = local.anchored.evaluate(theta)
    torch.testing.assert_close(losses, -(batches[-1].weights * batches[-1].advantages).sum(-1), rtol=1e-14, atol=1e-15)
    assert float(divergences.abs().max()) < 1e-15
    assert local.before == (float(losses.mean()), float(divergences.mean()))


def test_a_sampler_that_disagrees_with_the_learner_is_noticed() -> None:
    problem, params, batches = _setup("gaussian", unrolled(), 1)
    batches[-1].log_probs[1, 3] += 1e-4
    for laid in (problem.linearise, problem.anchor):
        with pytest.raises(SamplerMismatchError, match=r"0\.0001"):
            laid(flatten(params))
    batches[-1].log_probs[1, 3] -= 1e-4
    batches[-1].log_probs[0, 9] += 1.0  # a step that did not happen
    assert batches[-1].weights[0, 9] == 0
    problem.linearise(flatten(params))


def test_zero_inner_steps_are_plain_trpo_on_the_pooled_tasks() -> None:
    problem, params, (batch,) = _setup("gaussian", unrolled(), 0, ragged=False)
    theta = flatten(params)

    def pooled(vector: Tensor) -> Tensor:
        acts = reference.forward("gaussian", unflatten(vector, params), batch.observations.flatten(0, 1))
        return acts.log_prob(batch.actions.flatten(0, 1))

    jacobian = torch.autograd.functional.jacobian(pooled, theta)
    weights = (batch.weights / reference.TASKS).flatten()
    expected = -(weights * batch.advantages.flatten()) @ jacobian
    torch.testing.assert_close(problem.linearise(theta).gradient(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", ["gaussian", "categorical"])
def test_a_step_without_inner_steps_is_that_of_a_dense_trpo(family: str) -> None:
    problem, params, batches = _setup(family, unrolled(), 0)
    surrogate, divergence = reference.objective(family, params, batches, False, [1.0])
    theta, radius, damping = flatten(params), 0.01, 0.1
    (gradient,) = torch.autograd.grad(surrogate(theta.requires_grad_()), theta)
    theta = theta.detach()
    matrix = torch.autograd.functional.hessian(divergence, theta) + damping * torch.eye(len(theta), dtype=torch.float64)
    direction = torch.linalg.solve(matrix, gradient)
    full = (2 * radius / (direction @ matrix @ direction)).sqrt() * direction
    before = float(surrogate(theta.clone().requires_grad_()).detach())
    for trial in range(15):
        expected = theta - 0.8**trial * full
        at = expected.clone().requires_grad_()
        if float(surrogate(at).detach()) < before and float(divergence(at).detach()) <= radius:
            break
    update = _stepped(problem, params, TrustRegion(radius, cg_iterations=300, damping=damping))
    assert not update.metrics["line_search_rejected"]
    assert update.metrics["line_search_steps"] == trial + 1
    torch.testing.assert_close(flatten(update.meta), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 10])
def test_chunks_do_not_change_the_problem(chunk: int) -> None:
    whole, params, _ = _setup("gaussian", unrolled(), 1, chunk=3)
    parts, _, _ = _setup("gaussian", unrolled(), 1, chunk=chunk)
    theta = flatten(params)
    one, other = whole.linearise(theta), parts.linearise(theta)
    torch.testing.assert_close(one.gradient(), other.gradient(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(one.product(theta), other.product(theta), rtol=1e-12, atol=1e-14)


def test_the_curvature_of_a_share_is_that_of_the_thinned_samples() -> None:
    whole, params, batches = _setup("gaussian", unrolled(), 1)
    policy = reference.make_policy("gaussian")
    few = [thinned(batch, 2) for batch in batches]
    assert all(float(batch.weights.sum(-1).min()) == pytest.approx(1.0) for batch in few)
    assert few[0].observations.shape[1] == -(-batches[0].observations.shape[1] // 2)
    shared = reference.make_problem(policy, params, batches, unrolled(), curvature_share=0.5)
    theta = flatten(params)
    one, other = whole.linearise(theta), shared.linearise(theta)
    _, divergence = reference.objective("gaussian", params, few, False, _final(1))
    _, expected = torch.autograd.functional.hvp(divergence, theta, torch.cos(theta))
    torch.testing.assert_close(other.product(torch.cos(theta)), expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(expected, one.product(torch.cos(theta)), rtol=1e-3)
    assert torch.equal(other.gradient(), one.gradient())
    assert other.values(theta) == one.values(theta)


def test_a_thinned_batch_prefers_no_time_step() -> None:
    horizon, episodes = 10, 400
    time = torch.arange(horizon).repeat(episodes)[None].double()
    batch = RLBatch(
        time[..., None],
        time,
        time,
        torch.full_like(time, 1 / time.numel()),
        time,
        torch.ones(1, episodes),
        torch.ones(1),
    )
    for every in (2, 4, 5, 7):
        few = thinned(batch, every)
        assert few.weights.shape[1] == horizon * episodes // every
        assert float(few.weights.sum()) == pytest.approx(1.0)
        shares = torch.bincount(few.actions[0].long(), minlength=horizon) / few.weights.shape[1]
        assert float((shares - 1 / horizon).abs().max()) < 0.02
    assert all(torch.allclose(one, two) for one, two in zip(thinned(batch, 1), batch, strict=True))


def test_a_step_improves_the_surrogate_within_the_radius_and_leaves_its_input_alone() -> None:
    problem, params, _ = _setup("gaussian", unrolled(), 1)
    before = {name: leaf.clone() for name, leaf in params.items()}
    update = _stepped(problem, params, TrustRegion(radius=1e-3))
    assert not update.metrics["line_search_rejected"]
    assert update.metrics["surrogate_after"] < update.metrics["surrogate_before"]
    assert 0 < update.metrics["kl_after"] <= 1e-3
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert any(not torch.equal(params[name], update.meta[POLICY][name]) for name in params)


def test_a_surrogate_that_is_not_finite_is_refused_with_its_task() -> None:
    problem, params, batches = _setup("gaussian", unrolled(), 1)
    batches[-1].advantages[2, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="task 2"):
        _stepped(problem, params, TrustRegion())
