"""Laws of the meta-update, in float64, against the loops of `reference` and against finite differences."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import TrustRegion, first_order, uniform, unrolled, weighted
from maml_rl.core.tree import flatten
from maml_rl.core.types import Params
from maml_rl.rl.losses import RLBatch, thinned
from maml_rl.rl.updates.meta_surrogate import MetaProblem
from maml_rl.rl.updates.sampler_agreement import SamplerMismatchError
from maml_rl.rl.updates.trpo import meta_step
from tests.rl import reference

CASES = [
    (kind, mode, steps)
    for kind in ("gaussian", "categorical")
    for mode in (unrolled(), first_order())
    for steps in (0, 1, 3)
]


def _setup(
    kind: str, mode: Any, steps: int, objective: Any = None, ragged: bool = True, chunk: int = 2
) -> tuple[MetaProblem, Params, list[RLBatch]]:
    policy = reference.make_policy(kind)
    params = reference.initial(policy)
    batches = reference.make_batches(kind, policy, params, steps, ragged)
    return reference.make_problem(policy, params, batches, mode, objective, chunk), params, batches


def _final(steps: int) -> list[float]:
    return [0.0] * steps + [1.0]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("kind", "mode", "steps"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_curvature_product_is_the_double_derivative_of_the_divergence(
    kind: str, mode: Any, steps: int, ragged: bool
) -> None:
    problem, params, batches = _setup(kind, mode, steps, ragged=ragged)
    _, divergence = reference.objective(kind, params, batches, mode.name == "first_order", _final(steps))
    theta = flatten(params)
    problem.linearise(theta)
    vector = torch.randn(theta.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    _, expected = torch.autograd.functional.hvp(divergence, theta, vector)
    torch.testing.assert_close(problem.product(vector), expected, rtol=1e-9, atol=1e-12)
    assert float(vector @ problem.product(vector)) > 0


@pytest.mark.parametrize(("kind", "mode", "steps"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_meta_gradient_and_values_equal_the_loops(kind: str, mode: Any, steps: int) -> None:
    problem, params, batches = _setup(kind, mode, steps)
    surrogate, divergence = reference.objective(kind, params, batches, mode.name == "first_order", _final(steps))
    theta = flatten(params)
    problem.linearise(theta)
    (expected,) = torch.autograd.grad(surrogate(theta.requires_grad_()), theta)
    torch.testing.assert_close(problem.gradient(), expected, rtol=1e-9, atol=1e-13)
    moved = (theta + 0.05 * torch.cos(torch.arange(len(theta)))).detach()
    losses, divergences = problem.evaluate(moved)
    torch.testing.assert_close(losses.mean(), surrogate(moved.requires_grad_()).detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(divergences.mean(), divergence(moved).detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
@pytest.mark.parametrize("steps", [1, 3])
def test_unrolled_meta_gradient_equals_finite_differences(kind: str, steps: int) -> None:
    problem, params, _ = _setup(kind, unrolled(), steps)
    theta = flatten(params)
    problem.linearise(theta)
    gradient = problem.gradient()
    for index in range(0, len(theta), 3):
        step = torch.zeros_like(theta)
        step[index] = 1e-5
        above, below = (problem.evaluate(theta + sign * step)[0].mean() for sign in (1, -1))
        assert float((above - below) / 2e-5) == pytest.approx(float(gradient[index]), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("objective", [uniform(), weighted([0.2, 0.0, 0.5, 0.3])], ids=lambda value: value.name)
def test_per_step_objectives_equal_the_loops(objective: Any) -> None:
    problem, params, batches = _setup("gaussian", unrolled(), 3, objective)
    weights = {point.step: point.weight for point in objective.points(3)}
    surrogate, divergence = reference.objective(
        "gaussian", params, batches, False, [weights.get(step, 0.0) for step in range(4)]
    )
    theta = flatten(params)
    problem.linearise(theta)
    vector = torch.cos(torch.arange(len(theta), dtype=torch.float64))
    _, expected = torch.autograd.functional.hvp(divergence, theta, vector)
    torch.testing.assert_close(problem.product(vector), expected, rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(surrogate(theta.requires_grad_()), theta)
    torch.testing.assert_close(problem.gradient(), gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_ratio_is_exactly_one_and_divergence_exactly_zero_before_the_first_step(steps: int) -> None:
    problem, params, batches = _setup("gaussian", unrolled(), steps)
    theta = flatten(params)
    problem.linearise(theta)
    for chunk in problem._chunks:
        with torch.no_grad():
            new = problem._distributions(problem._adapted_tensors(chunk.batches, theta))
        for target, acts in zip(chunk.targets, new, strict=True):
            ratio = (acts.log_prob(target.batch.actions) - target.old_log_probs).exp()
            assert torch.equal(ratio, torch.ones_like(ratio))
    losses, divergences = problem.evaluate(theta)
    torch.testing.assert_close(losses, -(batches[-1].weights * batches[-1].advantages).sum(-1), rtol=1e-14, atol=1e-15)
    assert float(divergences.abs().max()) < 1e-15


def test_a_sampler_that_disagrees_with_the_learner_is_noticed() -> None:
    problem, params, batches = _setup("gaussian", unrolled(), 1)
    batches[-1].log_probs[1, 3] += 1e-4
    with pytest.raises(SamplerMismatchError, match=r"0\.0001"):
        problem.linearise(flatten(params))
    batches[-1].log_probs[1, 3] -= 1e-4
    batches[-1].log_probs[0, 9] += 1.0  # a step that did not happen
    assert batches[-1].weights[0, 9] == 0
    problem.linearise(flatten(params))


def test_zero_inner_steps_are_plain_trpo_on_the_pooled_tasks() -> None:
    problem, params, (batch,) = _setup("gaussian", unrolled(), 0, ragged=False)
    theta = flatten(params)
    problem.linearise(theta)

    def pooled(vector: Tensor) -> Tensor:
        from maml_rl.core.tree import unflatten

        acts = reference.forward("gaussian", unflatten(vector, params), batch.observations.flatten(0, 1))
        return acts.log_prob(batch.actions.flatten(0, 1))

    jacobian = torch.autograd.functional.jacobian(pooled, theta)
    weights = (batch.weights / reference.TASKS).flatten()
    torch.testing.assert_close(
        problem.gradient(), -(weights * batch.advantages.flatten()) @ jacobian, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_a_step_without_inner_steps_is_that_of_a_dense_trpo(kind: str) -> None:
    problem, params, batches = _setup(kind, unrolled(), 0)
    surrogate, divergence = reference.objective(kind, params, batches, False, [1.0])
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
    found, report = meta_step(problem, params, TrustRegion(radius, cg_iterations=300, damping=damping))
    assert report.accepted
    assert report.tried == trial + 1
    torch.testing.assert_close(flatten(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 10])
def test_chunks_do_not_change_the_problem(chunk: int) -> None:
    whole, params, _ = _setup("gaussian", unrolled(), 1, chunk=3)
    parts, _, _ = _setup("gaussian", unrolled(), 1, chunk=chunk)
    theta = flatten(params)
    for problem in (whole, parts):
        problem.linearise(theta)
    torch.testing.assert_close(whole.gradient(), parts.gradient(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(whole.product(theta), parts.product(theta), rtol=1e-12, atol=1e-14)


def test_the_curvature_of_a_share_is_that_of_the_thinned_samples() -> None:
    whole, params, batches = _setup("gaussian", unrolled(), 1)
    policy = reference.make_policy("gaussian")
    few = [thinned(batch, 2) for batch in batches]
    assert all(float(batch.weights.sum(-1).min()) == pytest.approx(1.0) for batch in few)
    assert few[0].observations.shape[1] == -(-batches[0].observations.shape[1] // 2)
    shared = reference.make_problem(policy, params, batches, unrolled(), curvature_share=0.5)
    theta = flatten(params)
    for problem in (whole, shared):
        problem.linearise(theta)
    _, divergence = reference.objective("gaussian", params, few, False, _final(1))
    _, expected = torch.autograd.functional.hvp(divergence, theta, torch.cos(theta))
    torch.testing.assert_close(shared.product(torch.cos(theta)), expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(expected, whole.product(torch.cos(theta)), rtol=1e-3)
    assert torch.equal(shared.gradient(), whole.gradient())
    assert all(torch.equal(one, two) for one, two in zip(shared.evaluate(theta), whole.evaluate(theta), strict=True))


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
    moved, report = meta_step(problem, params, TrustRegion(radius=1e-3))
    assert report.accepted
    assert report.loss_after < report.loss_before
    assert 0 < report.divergence_after <= 1e-3
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert any(not torch.equal(params[name], moved[name]) for name in params)


def test_a_surrogate_that_is_not_finite_is_refused_with_its_task() -> None:
    problem, params, batches = _setup("gaussian", unrolled(), 1)
    batches[-1].advantages[2, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="task 2"):
        meta_step(problem, params, TrustRegion())
