"""Laws of the clipped meta-update, in float64: PPO where there is no inner step, and penalties as written."""

import math

import pytest
import torch
from torch import Tensor

from maml_rl.core import constant, first_order, unrolled
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Params
from maml_rl.rl.losses import RLBatch
from maml_rl.rl.policy_learner import POLICY
from maml_rl.rl.updates.clipped_surrogate import ClippedSettings, clipped_epochs, clipped_loss, next_penalties
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from tests.rl import reference

CLIP = 0.05


def _setup(steps: int, mode: object = None) -> tuple[MetaSurrogate, Params, list[RLBatch]]:
    policy = reference.make_policy("gaussian")
    params = reference.initial(policy)
    batches = reference.make_batches("gaussian", policy, params, steps, ragged=True)
    problem = reference.make_problem(policy, params, batches, mode or unrolled(), loss="likelihood_ratio", watch=True)
    return problem, params, batches


def _ppo(params: Params, batch: RLBatch, old: Tensor, clip: float) -> Tensor:
    """Schulman et al. (2017), equation 7, with torch.distributions and a loop over tasks."""
    total = torch.zeros((), dtype=torch.float64)
    for task in range(reference.TASKS):
        acts = reference.forward("gaussian", params, batch.observations[task])
        ratio = (acts.log_prob(batch.actions[task]) - old[task]).exp()
        lower = torch.minimum(
            ratio * batch.advantages[task], torch.clip(ratio, 1 - clip, 1 + clip) * batch.advantages[task]
        )
        total = total - (batch.weights[task] * lower).sum() / reference.TASKS
    return total


@pytest.mark.parametrize("clip", [CLIP, 0.3, math.inf])
def test_without_inner_steps_it_is_ppo(clip: float) -> None:
    problem, params, (batch,) = _setup(0)
    theta = flatten(params)
    moved = (theta + 0.1 * torch.cos(torch.arange(len(theta)))).requires_grad_()
    anchored = problem.anchor(theta)
    losses, gradient = anchored.descend(moved, lambda targets, new: clipped_loss(targets, new, clip, [], problem.tasks))
    expected = _ppo(unflatten(moved, params), batch, batch.log_probs, clip)
    (slope,) = torch.autograd.grad(expected, moved)
    torch.testing.assert_close(losses.sum(), expected.detach(), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(gradient, slope, rtol=1e-9, atol=1e-12)


def test_an_update_without_inner_steps_is_ppos_with_torchs_adam() -> None:
    problem, params, (batch,) = _setup(0)
    optimiser, meta = clipped_epochs(constant(1e-2), ClippedSettings(4, CLIP), 0), {POLICY: params}
    update = optimiser.update(meta, optimiser.init(meta), problem, 0)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    theirs = torch.optim.Adam(leaves.values(), lr=1e-2)
    for _ in range(4):
        theirs.zero_grad()
        _ppo(leaves, batch, batch.log_probs, CLIP).backward()
        theirs.step()
    for name, leaf in leaves.items():
        torch.testing.assert_close(update.meta[POLICY][name], leaf.detach(), rtol=1e-9, atol=1e-11)
    assert update.metrics["surrogate_after"] < update.metrics["surrogate_before"]
    assert float(update.memory["adam"]["steps"]["policy/layer0.weight"]) == 4


@pytest.mark.parametrize("mode", [unrolled(), first_order()], ids=lambda mode: mode.name)
def test_one_step_without_clip_is_the_plain_meta_policy_gradient(mode: object) -> None:
    problem, params, _ = _setup(2, mode)
    theta = flatten(params)
    _, gradient = problem.anchor(theta).descend(
        theta, lambda targets, new: clipped_loss(targets, new, math.inf, [0.7, 0.2], problem.tasks)
    )
    torch.testing.assert_close(gradient, problem.linearise(theta).gradient(), rtol=1e-9, atol=1e-13)


def test_penalties_are_divergences_of_the_policies_that_sampled_for_inner_steps() -> None:
    problem, params, batches = _setup(1)
    theta = flatten(params)
    anchored = problem.anchor(theta)
    moved = theta + 0.05 * torch.cos(torch.arange(len(theta)))
    plain, _ = anchored.descend(moved, lambda t, new: clipped_loss(t, new, CLIP, [0.0], problem.tasks))
    punished, _ = anchored.descend(moved, lambda t, new: clipped_loss(t, new, CLIP, [2.5], problem.tasks))
    expected = []
    for task in range(reference.TASKS):
        acts = [
            reference.forward("gaussian", unflatten(at, params), batches[0].observations[task]) for at in (theta, moved)
        ]
        gap = torch.distributions.kl_divergence(*acts)
        expected.append((batches[0].weights[task] * gap).sum())
    torch.testing.assert_close(punished - plain, 2.5 * torch.stack(expected) / reference.TASKS, rtol=1e-9, atol=1e-12)
    assert anchored.divergences(moved)[0] == pytest.approx(float(torch.stack(expected).mean()), rel=1e-10)
    assert anchored.divergences(theta)[0] == pytest.approx(0.0, abs=1e-15)


def test_penalties_follow_their_target() -> None:
    penalties = torch.tensor([1.0, 1.0, 1.0])
    following = next_penalties(penalties, {0: 0.02, 1: 0.01, 2: 0.005}, 0.01)
    assert following.tolist() == [2.0, 1.0, 0.5]
    assert penalties.tolist() == [1.0, 1.0, 1.0]


def test_a_loss_that_is_not_finite_names_its_task() -> None:
    problem, params, batches = _setup(1)
    batches[1].advantages[1, 0] = float("nan")
    optimiser, meta = clipped_epochs(constant(1e-3), ClippedSettings(), 1), {POLICY: params}
    with pytest.raises(FloatingPointError, match="task 1"):
        optimiser.update(meta, optimiser.init(meta), problem, 0)
