"""Collected paths are the learner's own: rules with a memory over fresh trajectories at each step, in float64."""

import pytest
import torch
from numpy.random import SeedSequence

from maml_rl.core import Rule, constant, final, initial_rates, learned_rates, linear, listed, only, sgd, unrolled
from maml_rl.core.rules import adam, momentum
from maml_rl.core.tree import flatten
from maml_rl.core.types import Meta
from maml_rl.rl.collect import Collected, collect
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.estimation import EstimatorConfig
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policies import gaussian_mlp
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from tests.rl.reference import of_task, require_finite_differences

TASKS, STEPS = 3, 3
RULES = {
    "sgd": sgd(listed([0.1, 0.05])),
    "momentum": momentum(constant(0.1), 0.8),
    "Nesterov's": momentum(linear(0.2, 0.1, STEPS), 0.8, nesterov=True),
    "adam": adam(constant(0.05)),
    "learned rates": learned_rates(),
    "momentum of the last layer": only(momentum(constant(0.2)), lambda name: name.startswith("layer1")),
}


def _collected(rule: Rule) -> tuple[PolicyLearner, Meta, Collected]:
    environment = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 8, "goal_radius": 0.1, "action_scale": 1.0})
    sampler = Sampler(environment, TASKS, 5, torch.device("cpu"), torch.float64)
    policy = gaussian_mlp(2, 2, hidden=(4,), activation="tanh", initial_std=0.5)
    params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    meta = {POLICY: params, "rates": initial_rates(params, constant(0.1), STEPS)}
    learner = PolicyLearner(policy, rule, unrolled(), INNER_LOSSES["log_probability"])
    tasks = sampler.stepper.draw_tasks(SeedSequence(3))
    seeds = lambda step: task_seeds(1, 0, 0, step, TASKS)  # noqa: E731
    collected = collect(sampler, learner, meta, tasks, seeds, STEPS, EstimatorConfig())
    sampler.close()
    return learner, meta, collected


@pytest.mark.parametrize("name", RULES)
def test_the_sampler_acts_by_the_learners_own_path(name: str) -> None:
    learner, meta, collected = _collected(RULES[name])
    assert len(collected.path) == len(collected.batches) == STEPS + 1
    for task in range(TASKS):
        data = [of_task(batch, task) for batch in collected.batches]
        path = learner.path(meta, data[:-1])
        for point, (params, batch) in enumerate(zip(path, data, strict=True)):
            for leaf, params_of_all in zip(params.values(), collected.params(point).values(), strict=True):
                torch.testing.assert_close(params_of_all[task], leaf, rtol=1e-12, atol=1e-13)
            log_probs = learner.policy.act(params, batch.observations).log_prob(batch.actions)
            gaps = (log_probs - batch.log_probs) * (batch.weights > 0)
            assert float(gaps.abs().max()) < 1e-12, f"point {point}"
        assert not torch.equal(flatten(path[2]), flatten(path[3]))


@pytest.mark.parametrize("name", RULES)
def test_the_meta_gradient_through_a_rules_memory_equals_finite_differences(name: str) -> None:
    learner, meta, collected = _collected(RULES[name])
    meta = meta if name == "learned rates" else {POLICY: meta[POLICY]}
    local = MetaSurrogate(learner, meta, collected.batches, final()).linearise(flatten(meta))
    gradient = require_finite_differences(local, flatten(meta), every=5, size=1e-6, rel=2e-6)
    assert float(gradient.norm()) > 0


def test_each_step_has_its_own_baseline_and_its_progress_is_told() -> None:
    weights, calls = torch.zeros(2, 8, dtype=torch.float64), []
    weights[1, -1] = 5.0
    unscaled = EstimatorConfig(baseline="learned", normalise=False)
    environment = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 4})
    sampler = Sampler(environment, TASKS, 2, torch.device("cpu"), torch.float64)
    policy = gaussian_mlp(2, 2, hidden=(4,))
    learner = PolicyLearner(policy, sgd(constant(0.0)), unrolled(), INNER_LOSSES["log_probability"])
    meta = {POLICY: policy.initial(torch.Generator().manual_seed(0), torch.float64)}
    seeds = lambda step: task_seeds(1, 0, 0, 0, TASKS)  # noqa: E731  # the same at every step
    report = lambda done, total: calls.append((done, total))  # noqa: E731
    tasks = sampler.stepper.draw_tasks(SeedSequence(3))
    collected = collect(sampler, learner, meta, tasks, seeds, 2, unscaled, weights, report)
    first, second, third = (batch.advantages for batch in collected.batches)
    torch.testing.assert_close(first - second, torch.full_like(first, 5.0), rtol=1e-12, atol=1e-12)
    assert torch.equal(second, third)  # the last one's weights go on
    assert calls == [(1, 3), (2, 3), (3, 3)]
    sampler.close()
