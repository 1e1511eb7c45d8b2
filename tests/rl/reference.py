"""An independent, slow implementation of the meta-objective: plain loops over tasks and autograd, no vmap."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, kl_divergence

from maml_rl.core import Mode, Objective, final, listed, sgd
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Meta, Params
from maml_rl.rl.losses import INNER_LOSSES, RLBatch
from maml_rl.rl.policies import Policy, categorical_mlp, gaussian_mlp
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.updates.meta_surrogate import LinearisedSurrogate, MetaSurrogate

RATES = (0.3, 0.15, 0.15, 0.15)
TASKS, EPISODES, STEPS = 3, 2, 5


def make_policy(family: str) -> Policy:
    if family == "gaussian":
        return gaussian_mlp(3, 2, hidden=(4,), activation="tanh", initial_std=0.7)
    return categorical_mlp(3, 3, hidden=(4,), activation="tanh")


def initial(policy: Policy) -> Params:
    params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    generator = torch.Generator().manual_seed(1)
    return {
        name: leaf + 0.1 * torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        for name, leaf in params.items()
    }


def forward(family: str, params: Params, observations: Tensor) -> Distribution:
    hidden = torch.tanh(observations @ params["layer0.weight"].T + params["layer0.bias"])
    output = hidden @ params["layer1.weight"].T + params["layer1.bias"]
    if family == "gaussian":
        return Independent(Normal(output, params["log_std"].exp().expand_as(output)), 1)
    return Categorical(logits=output)


def inner_path(
    family: str, theta: Tensor, like: Params, batches: list[RLBatch], task: int, first_order: bool
) -> list[Tensor]:
    """phi_0, ..., phi_K as flat vectors, with a graph."""
    path = [theta]
    for step, batch in enumerate(batches[:-1]):
        phi = path[-1]
        at = phi.detach().requires_grad_() if first_order else phi
        log_probs = forward(family, unflatten(at, like), batch.observations[task]).log_prob(batch.actions[task])
        loss = -(batch.weights[task] * batch.advantages[task] * log_probs).sum()
        (gradient,) = torch.autograd.grad(loss, at, create_graph=not first_order)
        path.append(phi - RATES[step] * gradient)
    return path


def make_problem(
    policy: Policy,
    params: Params,
    batches: list[RLBatch],
    mode: Mode,
    objective: Objective | None = None,
    chunk: int = 2,
    loss: str = "log_probability",
    **options: Any,
) -> MetaSurrogate:
    """The implementation under test, on the same data."""
    learner = PolicyLearner(policy, sgd(listed(RATES)), mode, INNER_LOSSES[loss])
    return MetaSurrogate(learner, {POLICY: params}, batches, objective or final(), chunk, **options)


def make_batches(family: str, policy: Policy, params: Params, inner_steps: int, ragged: bool) -> list[RLBatch]:
    """Random data whose log-probabilities are those of the adapted policies, as a sampler would return them."""
    generator = torch.Generator().manual_seed(2)
    size = EPISODES * STEPS
    batches: list[RLBatch] = []
    theta = flatten(params)
    for _ in range(inner_steps + 1):
        observations = torch.randn(TASKS, size, 3, generator=generator, dtype=torch.float64)
        advantages = torch.randn(TASKS, size, generator=generator, dtype=torch.float64)
        mask = torch.ones(TASKS, EPISODES, STEPS, dtype=torch.float64)
        if ragged:
            mask[0, 1, 2:] = 0
            mask[2, 0, 4:] = 0
        weights = (mask / mask.sum((-2, -1), keepdim=True)).flatten(1)
        if family == "gaussian":
            actions = torch.randn(TASKS, size, 2, generator=generator, dtype=torch.float64)
        else:
            actions = torch.randint(3, (TASKS, size), generator=generator)
        zeros, ones = (make(TASKS, size, dtype=torch.float64) for make in (torch.zeros, torch.ones))
        batch = RLBatch(observations, actions, advantages, weights, zeros, mask.sum(-1), ones[:, 0])
        batches.append(batch)
        log_probs = []
        for task in range(TASKS):
            phi = inner_path(family, theta.clone().requires_grad_(), params, batches, task, False)[-1].detach()
            acts = forward(family, unflatten(phi, params), observations[task])
            log_probs.append(acts.log_prob(actions[task]).detach())
        batches[-1] = batch._replace(log_probs=torch.stack(log_probs))
    return batches


def objective(
    family: str, params: Params, batches: list[RLBatch], first_order: bool, weights: list[float]
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The surrogate and the mean divergence from the policies at `params`, as functions of a flat vector."""

    def points(theta: Tensor) -> list[tuple[float, int, int, Distribution]]:
        acting = []
        for task in range(TASKS):
            for step, weight in enumerate(weights):
                if weight:
                    path = inner_path(family, theta, params, batches[: step + 1], task, first_order)
                    acts = forward(family, unflatten(path[-1], params), batches[step].observations[task])
                    acting.append((weight, step, task, acts))
        return acting

    old = points(flatten(params).requires_grad_())
    old_log_probs = [acts.log_prob(batches[step].actions[task]).detach() for _, step, task, acts in old]
    frozen = [_detached(acts) for *_, acts in old]

    def surrogate(theta: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for (weight, step, task, acts), log_prob in zip(points(theta), old_log_probs, strict=True):
            batch = batches[step]
            ratio = (acts.log_prob(batch.actions[task]) - log_prob).exp()
            total = total - weight / TASKS * (batch.weights[task] * batch.advantages[task] * ratio).sum()
        return total

    def divergence(theta: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for (weight, step, task, acts), before in zip(points(theta), frozen, strict=True):
            total = total + weight / TASKS * (batches[step].weights[task] * kl_divergence(before, acts)).sum()
        return total

    return surrogate, divergence


def _detached(acts: Distribution) -> Distribution:
    if isinstance(acts, Independent):
        return Independent(Normal(acts.base_dist.loc.detach(), acts.base_dist.scale.detach()), 1)
    assert isinstance(acts, Categorical)
    return Categorical(logits=acts.logits.detach())


def of_task(batch: RLBatch, task: int) -> RLBatch:
    """The samples of one task."""
    return RLBatch(*(part[task] for part in batch))


def resampled(learner: PolicyLearner, meta: Meta, batches: list[RLBatch]) -> list[RLBatch]:
    """The batches with the log-probabilities of the learner's own path, as if it had sampled them."""
    rewritten: list[RLBatch] = []
    for batch in batches:
        log_probs = []
        for task in range(len(batch.weights)):
            params = learner.path(meta, [of_task(earlier, task) for earlier in rewritten])[-1]
            data = of_task(batch, task)
            log_probs.append(learner.policy.act(params, data.observations).log_prob(data.actions).detach())
        rewritten.append(batch._replace(log_probs=torch.stack(log_probs)))
    return rewritten


def require_finite_differences(
    local: LinearisedSurrogate, theta: Tensor, every: int, size: float = 1e-5, rel: float = 1e-6
) -> Tensor:
    """The gradient at `theta`, once each `every`-th entry of it has been seen to equal a central difference."""
    gradient = local.gradient()
    for index in range(0, len(theta), every):
        step = torch.zeros_like(theta)
        step[index] = size
        above, below = (local.values(theta + sign * step)[0] for sign in (1, -1))
        assert (above - below) / (2 * size) == pytest.approx(float(gradient[index]), rel=rel, abs=1e-8)
    return gradient
