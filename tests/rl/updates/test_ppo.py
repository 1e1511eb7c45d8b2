"""Proximal policy optimisation of trials: advantages over episodes' ends, statistics of returns, loss, update."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from maml_rl.core.meta_optimisers import Update
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Params
from maml_rl.rl.advantages import generalised_advantages
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policy_learner import POLICY
from maml_rl.rl.recurrent.gru_policy import RecurrentPolicy
from maml_rl.rl.recurrent.trials import Trials, pack
from maml_rl.rl.updates.ppo import PPOBatch, PPOConfig, PPOProblem, ppo, ppo_terms, prepare_trials, with_returns
from maml_rl.rl.updates.sampler_agreement import SamplerMismatchError
from tests.rl.recurrent.played import NAVIGATION, STATISTICS, trials_of


@pytest.fixture(params=["navigation", "corridor"])
def environment(request: pytest.FixtureRequest, third_party: str) -> EnvironmentConfig:
    """One with full episodes, one with episodes that end early."""
    return NAVIGATION if request.param == "navigation" else EnvironmentConfig(f"{third_party}:Corridor-v0")


def _batch(environment: EnvironmentConfig, config: PPOConfig) -> tuple[RecurrentPolicy, Params, PPOBatch]:
    policy, params, played = trials_of(environment)
    trials = pack(played)
    statistics = with_returns(STATISTICS, trials, config.discount)
    return policy, params, prepare_trials(policy, params, trials, statistics, config)


def _updated(policy: RecurrentPolicy, params: Params, batch: PPOBatch, config: PPOConfig) -> Update:
    optimiser, meta = ppo(policy, config), {POLICY: params}
    return optimiser.update(meta, optimiser.init(meta), PPOProblem(batch, np.random.default_rng(0)), 0)


def test_advantages_go_on_over_the_ends_of_episodes(environment: EnvironmentConfig) -> None:
    """Against the double sum A_t = sum_{l >= 0} (g lambda)^l d_{t+l} over the whole trial."""
    policy, params, played = trials_of(environment)
    trials = pack(played)
    config = PPOConfig(discount=0.9, gae_lambda=0.7)
    statistics = with_returns(STATISTICS, trials, config.discount)
    batch = prepare_trials(policy, params, trials, statistics, config)
    mean, spread = statistics["mean"], (statistics["square"] - statistics["mean"] ** 2).sqrt()
    output = policy.sequence(params, trials.observations, trials.actions, trials.rewards, trials.episode_starts)
    values = mean + spread * output.values
    expected = torch.zeros_like(values)
    for row, length in enumerate(trials.mask.sum(-1).long().tolist()):
        behind = [*values[row, 1:length].tolist(), 0.0]
        for t in range(length):
            for later in range(t, length):
                delta = trials.rewards[row, later] + 0.9 * behind[later] - values[row, later]
                expected[row, t] += (0.9 * 0.7) ** (later - t) * delta
    happened = trials.mask > 0
    targets = (expected + values - mean) / spread
    torch.testing.assert_close(batch.targets[happened], targets[happened], rtol=0, atol=1e-10)
    normal = (expected - expected[happened].mean()) / expected[happened].std(correction=0)
    torch.testing.assert_close(batch.advantages[happened], normal[happened], rtol=0, atol=1e-6)
    assert not batch.advantages[~happened].any()


def test_advantages_of_a_trial_are_those_of_one_long_episode() -> None:
    """A check of the check: the recursion that both use has no notion of an episode's end."""
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(2, 9, generator=generator, dtype=torch.float64) for _ in range(2))
    advantages = generalised_advantages(rewards, values, torch.ones(2, 9), torch.zeros(2).double(), 0.9, 1.0)
    expected = sum(0.9**k * rewards[:, k] for k in range(9)) - values[:, 0]
    torch.testing.assert_close(advantages[:, 0], expected, rtol=0, atol=1e-12)


def test_running_statistics_are_those_of_all_returns_at_first() -> None:
    def trials(rewards: list[list[float]], mask: list[list[float]]) -> Trials:
        paid, happened = torch.tensor(rewards), torch.tensor(mask)
        return Trials(paid[..., None], paid, paid, paid, happened, paid)

    first = with_returns(STATISTICS, trials([[-100.0, -100.0]], [[1.0, 1.0]]), 0.5)
    assert first["mean"] == -125.0
    assert first["square"] == (150.0**2 + 100.0**2) / 2
    second = with_returns(first, trials([[1.0, 0.0]], [[1.0, 0.0]]), 0.5)
    assert second["mean"] == pytest.approx((-125 + 1) / 2)
    assert second["seen"] == 2
    assert STATISTICS["seen"] == 0


def test_at_ratio_one_the_surrogate_has_the_policy_gradient(environment: EnvironmentConfig) -> None:
    """grad = -mean_t A_t grad log pi(a_t), by a loop over trials and steps."""
    config = PPOConfig(value_weight=0.0)
    policy, params, batch = _batch(environment, config)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    terms, trials = ppo_terms(policy, leaves, batch, config), batch.trials
    assert float(terms.kl) == pytest.approx(0, abs=1e-12)
    assert float(terms.clipped) == 0
    slopes = torch.autograd.grad(terms.loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(trials.mask)):
        memory = policy.begin((1,), trials.rewards)
        for t in range(int(trials.mask[row].sum())):
            memory = policy.begin_episode(memory) if trials.episode_starts[row, t] else memory
            output, memory = policy.step(leaves, memory, trials.observations[row, t][None])
            action = trials.actions[row, t][None]
            memory = policy.remember(memory, action, trials.rewards[row, t][None])
            total = total - batch.advantages[row, t] * output.distribution.log_prob(action)[0]
            count += 1
    expected = torch.autograd.grad(total / count, list(leaves.values()), allow_unused=True, materialize_grads=True)
    for one, other in zip(slopes, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_what_lies_behind_a_trials_end_does_not_count(third_party: str) -> None:
    config = PPOConfig(entropy_weight=0.1)
    policy, params, batch = _batch(EnvironmentConfig(f"{third_party}:Corridor-v0"), config)
    gone = batch.trials.mask == 0
    assert gone.any()
    spoiled = batch._replace(
        trials=batch.trials._replace(
            observations=torch.where(gone[..., None], 5.0, batch.trials.observations),
            actions=torch.where(gone, 1 - batch.trials.actions, batch.trials.actions),
            rewards=torch.where(gone, -9.0, batch.trials.rewards),
        ),
        targets=torch.where(gone, 1e3, batch.targets),
        log_probs=torch.where(gone, 7.0, batch.log_probs),
    )
    moved = {name: leaf + 0.05 for name, leaf in params.items()}
    terms, same = (ppo_terms(policy, moved, each, config) for each in (batch, spoiled))
    for one, other in zip(terms, same, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def _gradients(terms_loss: Tensor, leaves: Params) -> list[Tensor]:
    slopes = torch.autograd.grad(terms_loss, list(leaves.values()), allow_unused=True)
    return [slope for slope in slopes if slope is not None]


def test_a_ratio_beyond_the_clip_earns_nothing_more() -> None:
    config = PPOConfig(clip=0.2, value_weight=0.0)
    policy, params, batch = _batch(NAVIGATION, config)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    ahead = batch._replace(log_probs=batch.log_probs - 1.0, advantages=torch.ones_like(batch.advantages))
    terms = ppo_terms(policy, leaves, ahead, config)
    assert float(terms.policy.detach()) == pytest.approx(-1.2)
    assert float(terms.clipped) == 1
    assert not any(slope.any() for slope in _gradients(terms.loss, leaves))
    behind = ahead._replace(advantages=-torch.ones_like(batch.advantages))
    assert float(ppo_terms(policy, params, behind, config).policy) == pytest.approx(np.e)


def test_a_gradient_is_no_longer_than_allowed_and_a_target_divergence_ends_the_epochs() -> None:
    config = PPOConfig(learning_rate=1e-2, epochs=7, minibatches=2)
    policy, params, batch = _batch(NAVIGATION, config)
    before = map_tree(torch.clone, params)
    whole = _updated(policy, params, batch, config).metrics
    assert whole["epochs"] == 7
    assert whole["kl"] > 0
    early = _updated(policy, params, batch, replace(config, target_kl=whole["kl"] / 10))
    assert early.metrics["epochs"] < 7
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert any(not torch.equal(early.meta[POLICY][name], params[name]) for name in params)
    # Adam does not care for the length of a gradient, but remembers it.
    one = replace(config, epochs=1, minibatches=1, max_norm=1e-3)
    memory = _updated(policy, params, batch, one).memory
    norm = torch.stack([part.norm() for part in memory["mean"].values()]).norm()
    assert float(norm) == pytest.approx(0.1 * 1e-3)


def test_a_loss_that_is_not_a_number_is_told() -> None:
    policy, params, batch = _batch(NAVIGATION, PPOConfig())
    spoiled = batch._replace(targets=batch.targets * float("nan"))
    with pytest.raises(FloatingPointError, match="epoch 0 of the update: the loss is nan"):
        _updated(policy, params, spoiled, PPOConfig())


def test_other_data_than_the_policys_are_refused() -> None:
    policy, params, played = trials_of(NAVIGATION)
    trials = pack(played)
    statistics = with_returns(STATISTICS, trials, 0.99)
    moved = {name: leaf + 0.1 for name, leaf in params.items()}
    with pytest.raises(SamplerMismatchError, match="log-probabilities of the sampler and of the learner differ"):
        prepare_trials(policy, moved, trials, statistics, PPOConfig())
