"""The recurrent policy and its trials: stepwise as fused, memory over episodes, packing, advantages, gradients."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.optimisers import adam_start
from maml_rl.rl.actors import Remembering
from maml_rl.rl.advantages import generalised_advantages
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig, RecurrentPolicy, recurrent_for
from maml_rl.rl.recurrent.trial_sampling import Trials, blank, pack, play, sample_trials
from maml_rl.rl.sampler import Sampler, SimulationError, task_seeds
from maml_rl.rl.trajectories import Trajectories
from maml_rl.rl.updates.ppo import PPOBatch, PPOConfig, ppo_terms, ppo_update, prepare_trials, with_returns

CPU = torch.device("cpu")
SMALL = RecurrentConfig(units=6, encoder=[5], output_scale=1.0)
NAVIGATION = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 6})
STATISTICS = {name: torch.zeros((), dtype=torch.float64) for name in ("seen", "mean", "square")}
BOX, PLANE = gym.spaces.Box(-1.0, 1.0, (3,)), gym.spaces.Box(np.float32([-1, -2]), np.float32([1, 0.5]))


def _parameters(policy: RecurrentPolicy) -> dict[str, Tensor]:
    """Random ones, so that no head or bias is zero."""
    generator = torch.Generator().manual_seed(1)
    drawn = policy.initial(generator, torch.float64)
    return {name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator).double() for name, leaf in drawn.items()}


def _made(
    environment: EnvironmentConfig, tasks: int, copies: int
) -> tuple[Sampler, RecurrentPolicy, dict[str, Tensor]]:
    sampler = Sampler(environment, tasks, copies, CPU, torch.float64)
    policy = recurrent_for(SMALL, sampler.envs.single_observation_space, sampler.envs.single_action_space)
    return sampler, policy, _parameters(policy)


def _seeds(tasks: int, episode: int = 0) -> list[SeedSequence]:
    return task_seeds(3, 0, 0, episode, tasks)


def _trials(environment: EnvironmentConfig, tasks: int = 3, episodes: int = 3) -> tuple[Any, ...]:
    sampler, policy, params = _made(environment, tasks, 2)
    drawn = sampler.sample_tasks(SeedSequence(0))
    played = sample_trials(sampler, policy, params, drawn, lambda episode: _seeds(tasks, episode), episodes)
    sampler.close()
    return policy, params, played


@pytest.fixture(params=["navigation", "corridor"])
def environment(request: pytest.FixtureRequest, third_party: str) -> EnvironmentConfig:
    """One with continuous actions and full episodes, one with discrete actions and episodes that end early."""
    return NAVIGATION if request.param == "navigation" else EnvironmentConfig(f"{third_party}:Corridor-v0")


@pytest.mark.parametrize("actions", [gym.spaces.Discrete(4, start=2), PLANE], ids=["discrete", "box"])
@pytest.mark.parametrize("encoder", [[], [5, 4]], ids=str)
def test_steps_give_what_the_fused_sequence_gives(actions: gym.Space[Any], encoder: list[int]) -> None:
    policy = recurrent_for(replace(SMALL, encoder=encoder), BOX, actions)
    params, rng = _parameters(policy), torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 50, 3 + policy.code_size + 2, generator=rng).double()
    fused, states = policy.sequence(params, inputs.flatten(0, 1))
    hidden = torch.zeros(2, 3, policy.units, dtype=torch.float64)
    for t in range(50):
        output, hidden = policy.step(params, inputs[:, :, t], hidden)
        torch.testing.assert_close(hidden.flatten(0, 1), states[:, t], rtol=0, atol=1e-12)
        torch.testing.assert_close(output.values.flatten(), fused.values[:, t], rtol=0, atol=1e-12)
        mean, whole = next(iter(output.distribution)), next(iter(fused.distribution))
        torch.testing.assert_close(mean.flatten(0, 1), whole[:, t], rtol=0, atol=1e-12)


def test_the_recurrence_is_a_gated_recurrent_unit() -> None:
    """h' = (1 - z) n + z h (Cho et al., 2014), by hand."""
    policy = recurrent_for(replace(SMALL, encoder=[]), BOX, PLANE)
    params = _parameters(policy)
    x, h = torch.randn(1, 7).double(), torch.randn(1, 6).double()
    given = (x @ params["gru.weight_ih"].T + params["gru.bias_ih"]).split(6, -1)
    kept = (h @ params["gru.weight_hh"].T + params["gru.bias_hh"]).split(6, -1)
    reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
    expected = (1 - update) * torch.tanh(given[2] + reset * kept[2]) + update * h
    torch.testing.assert_close(policy.step(params, x, h)[1], expected, rtol=0, atol=1e-12)


def test_actions_are_read_clipped_or_one_hot() -> None:
    box, discrete = recurrent_for(SMALL, BOX, PLANE), recurrent_for(SMALL, BOX, gym.spaces.Discrete(3, start=5))
    taken = torch.tensor([[0.3, 9.0], [-7.0, -1.5]], dtype=torch.float64)
    assert box.code(taken, torch.float64).tolist() == [[0.3, 0.5], [-1.0, -1.5]]
    assert discrete.code(torch.tensor([2, 0]), torch.float64).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(ValueError, match="Discrete and one-dimensional Box"):
        recurrent_for(SMALL, BOX, gym.spaces.MultiBinary(3))


def test_the_memory_is_blank_before_a_trial_and_goes_on_over_its_episodes(environment: EnvironmentConfig) -> None:
    sampler, policy, params = _made(environment, 3, 2)
    tasks = sampler.sample_tasks(SeedSequence(0))
    start = blank(policy, sampler)
    assert all(not part.any() for part in start)
    first, memory = play(sampler, policy, params, start, tasks, _seeds(3))
    again, _ = play(sampler, policy, params, memory, tasks, _seeds(3, 1))
    trials = pack(policy, [first])
    _, states = policy.sequence(params, trials.inputs)
    lengths = trials.mask.sum(-1).long()
    ends = states[torch.arange(6), lengths - 1].view(3, 2, -1)
    # Also where an episode ended early: what the environment did afterwards is not remembered.
    torch.testing.assert_close(memory.hidden, ends, rtol=0, atol=1e-12)
    last = trials.rewards[torch.arange(6), lengths - 1].view(3, 2)
    assert torch.equal(memory.rewards, last)
    # The second episode's first step begins where the first one's last step has ended.
    inputs = policy.inputs(again.observations[:, :, 0], memory.codes, memory.rewards, torch.ones(3, 2).double())
    output, _ = policy.step(params, inputs, memory.hidden)
    found = output.distribution.log_prob(again.actions[:, :, 0])
    torch.testing.assert_close(found, again.log_probs[:, :, 0], rtol=0, atol=1e-12)
    sampler.close()


def test_episodes_of_different_lengths_occur(third_party: str) -> None:
    _, _, played = _trials(EnvironmentConfig(f"{third_party}:Corridor-v0"))
    lengths = played[0].mask.sum(-1)
    assert lengths.min() < lengths.max()


def test_the_learner_reads_what_the_sampler_saw(environment: EnvironmentConfig) -> None:
    policy, params, played = _trials(environment)
    trials = pack(policy, played)
    output, _ = policy.sequence(params, trials.inputs)
    found = output.distribution.log_prob(trials.actions) * trials.mask
    torch.testing.assert_close(found, trials.log_probs, rtol=0, atol=1e-12)


def test_trials_are_the_episodes_steps_one_after_another(environment: EnvironmentConfig) -> None:
    policy, _, played = _trials(environment)
    trials = pack(policy, played)
    for task in range(3):
        for copy in range(2):
            steps = [
                (episode.observations[task, copy, t], episode.actions[task, copy, t], episode.rewards[task, copy, t], t)
                for episode in played
                for t in range(episode.mask.shape[-1])
                if episode.mask[task, copy, t]
            ]
            row = 2 * task + copy
            assert trials.mask[row].sum() == len(steps)
            code, reward = torch.zeros(policy.code_size).double(), torch.zeros(()).double()
            for place, (observation, action, paid, t) in enumerate(steps):
                begins = torch.tensor(float(t == 0)).double()
                assert torch.equal(trials.inputs[row, place], policy.inputs(observation, code, reward, begins))
                assert torch.equal(trials.actions[row, place], action)
                assert trials.rewards[row, place] == paid
                code, reward = policy.code(action, torch.float64), paid
            assert not trials.inputs[row, len(steps) :].any()


def test_the_order_of_tasks_does_not_matter(environment: EnvironmentConfig) -> None:
    sampler, policy, params = _made(environment, 3, 2)
    tasks, order = sampler.sample_tasks(SeedSequence(0)), [2, 0, 1]
    straight = sample_trials(sampler, policy, params, tasks, lambda k: _seeds(3, k), 2)
    mixed = sample_trials(
        sampler, policy, params, [tasks[i] for i in order], lambda k: [_seeds(3, k)[i] for i in order], 2
    )
    for one, other in zip(straight, mixed, strict=True):
        torch.testing.assert_close(one.rewards[order], other.rewards, rtol=0, atol=1e-12)
        torch.testing.assert_close(one.log_probs[order], other.log_probs, rtol=0, atol=1e-12)
    sampler.close()


def test_copies_of_a_task_are_apart() -> None:
    _, _, played = _trials(NAVIGATION)
    assert not torch.equal(played[0].actions[:, 0], played[0].actions[:, 1])
    assert not torch.equal(played[0].actions, played[1].actions)


def test_faults_of_the_environment_are_told(third_party: str) -> None:
    with pytest.raises(SimulationError, match="the wall fell down"):
        _trials(EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "raise"}))


def test_advantages_go_on_over_the_ends_of_episodes(environment: EnvironmentConfig) -> None:
    """Against the double sum A_t = sum_{l >= 0} (g lambda)^l d_{t+l} over the whole trial."""
    policy, params, played = _trials(environment)
    trials = pack(policy, played)
    config = PPOConfig(discount=0.9, gae_lambda=0.7)
    statistics = with_returns(STATISTICS, trials, config.discount)
    batch = prepare_trials(policy, params, trials, statistics, config)
    mean, spread = statistics["mean"], (statistics["square"] - statistics["mean"] ** 2).sqrt()
    output, _ = policy.sequence(params, trials.inputs)
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


def test_running_statistics_are_those_of_all_returns_at_first() -> None:
    def trials(rewards: list[list[float]], mask: list[list[float]]) -> Trials:
        paid, happened = torch.tensor(rewards), torch.tensor(mask)
        return Trials(paid[..., None], paid, paid, happened, paid)

    first = with_returns(STATISTICS, trials([[-100.0, -100.0]], [[1.0, 1.0]]), 0.5)
    assert first["mean"] == -125.0
    assert first["square"] == (150.0**2 + 100.0**2) / 2
    second = with_returns(first, trials([[1.0, 0.0]], [[1.0, 0.0]]), 0.5)
    assert second["mean"] == pytest.approx((-125 + 1) / 2)
    assert second["seen"] == 2
    assert STATISTICS["seen"] == 0


def _batch(environment: EnvironmentConfig, config: PPOConfig) -> tuple[RecurrentPolicy, dict[str, Tensor], PPOBatch]:
    policy, params, played = _trials(environment)
    trials = pack(policy, played)
    statistics = with_returns(STATISTICS, trials, config.discount)
    return policy, params, prepare_trials(policy, params, trials, statistics, config)


def test_at_ratio_one_the_surrogate_has_the_policy_gradient(environment: EnvironmentConfig) -> None:
    """grad = -mean_t A_t grad log pi(a_t), by a loop over trials and steps."""
    config = PPOConfig(value_weight=0.0)
    policy, params, batch = _batch(environment, config)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    terms = ppo_terms(policy, leaves, batch, config)
    assert float(terms.kl) == pytest.approx(0, abs=1e-12)
    assert float(terms.clipped) == 0
    found = torch.autograd.grad(terms.loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(batch.mask)):
        hidden = torch.zeros(1, policy.units, dtype=torch.float64)
        for t in range(int(batch.mask[row].sum())):
            output, hidden = policy.step(leaves, batch.inputs[row, t][None], hidden)
            total = total - batch.advantages[row, t] * output.distribution.log_prob(batch.actions[row, t][None])[0]
            count += 1
    expected = torch.autograd.grad(total / count, list(leaves.values()), allow_unused=True, materialize_grads=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_what_lies_behind_a_trials_end_does_not_count(third_party: str) -> None:
    config = PPOConfig(entropy_weight=0.1)
    policy, params, batch = _batch(EnvironmentConfig(f"{third_party}:Corridor-v0"), config)
    gone = batch.mask == 0
    assert gone.any()
    spoiled = batch._replace(
        inputs=torch.where(gone[..., None], 5.0, batch.inputs),
        targets=torch.where(gone, 1e3, batch.targets),
        log_probs=torch.where(gone, 7.0, batch.log_probs),
    )
    moved = {name: leaf + 0.05 for name, leaf in params.items()}
    for one, other in zip(
        ppo_terms(policy, moved, batch, config), ppo_terms(policy, moved, spoiled, config), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_ratio_beyond_the_clip_earns_nothing_more() -> None:
    config = PPOConfig(clip=0.2, value_weight=0.0)
    policy, params, batch = _batch(NAVIGATION, config)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    ahead = batch._replace(log_probs=batch.log_probs - 1.0, advantages=torch.ones_like(batch.advantages))
    terms = ppo_terms(policy, leaves, ahead, config)
    assert float(terms.policy.detach()) == pytest.approx(-1.2)
    assert float(terms.clipped) == 1
    assert not any(part.any() for part in torch.autograd.grad(terms.loss, list(leaves.values()), allow_unused=True)
                   if part is not None)  # fmt: skip
    behind = ahead._replace(advantages=-torch.ones_like(batch.advantages))
    assert float(ppo_terms(policy, params, behind, config).policy) == pytest.approx(np.e)


def test_a_gradient_is_no_longer_than_allowed_and_a_target_divergence_ends_the_epochs() -> None:
    config = PPOConfig(rate=1e-2, epochs=7, minibatches=2)
    policy, params, batch = _batch(NAVIGATION, config)

    def updated(changed: PPOConfig) -> dict[str, float]:
        return ppo_update(policy, params, adam_start(params), batch, changed, np.random.default_rng(0))[2]

    whole = updated(config)
    assert whole["epochs"] == 7
    assert whole["kl"] > 0
    assert updated(replace(config, target_kl=whole["kl"] / 10))["epochs"] < 7
    # Adam does not care for the length of a gradient, but remembers it.
    one = replace(config, epochs=1, minibatches=1, max_norm=1e-3)
    _, adam, _ = ppo_update(policy, params, adam_start(params), batch, one, np.random.default_rng(0))
    norm = torch.stack([part.norm() for part in adam["mean"].values()]).norm()
    assert float(norm) == pytest.approx(0.1 * 1e-3)


def test_a_loss_that_is_not_a_number_is_told() -> None:
    config = PPOConfig()
    policy, params, batch = _batch(NAVIGATION, config)
    spoiled = batch._replace(targets=batch.targets * float("nan"))
    with pytest.raises(FloatingPointError, match="epoch 0 of the update: the loss is nan"):
        ppo_update(policy, params, adam_start(params), spoiled, config, np.random.default_rng(0))


def test_advantages_of_a_trial_are_those_of_one_long_episode() -> None:
    """A check of the check: the recursion that both use has no notion of an episode's end."""
    rewards, values = torch.randn(2, 9).double(), torch.randn(2, 9).double()
    found = generalised_advantages(rewards, values, torch.ones(2, 9), torch.zeros(2).double(), 0.9, 1.0)
    expected = sum(0.9**k * rewards[:, k] for k in range(9)) - values[:, 0]
    torch.testing.assert_close(found[:, 0], expected, rtol=0, atol=1e-12)


def test_other_data_than_the_policys_are_refused() -> None:
    policy, params, played = _trials(NAVIGATION)
    trials = pack(policy, played)
    statistics = with_returns(STATISTICS, trials, 0.99)
    moved = {name: leaf + 0.1 for name, leaf in params.items()}
    with pytest.raises(RuntimeError, match="log-probabilities of the sampler and of the learner differ"):
        prepare_trials(policy, moved, trials, statistics, PPOConfig())


def test_successes_and_lengths_stay_with_the_episodes(third_party: str) -> None:
    _, _, played = _trials(EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "success"}))
    assert all(isinstance(episode, Trajectories) and episode.successes is not None for episode in played)


def test_who_acts_in_a_film_remembers_what_the_sampler_would() -> None:
    policy = recurrent_for(SMALL, BOX, PLANE)
    params = _parameters(policy)
    generator = torch.Generator().manual_seed(4)
    seen = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)  # two episodes of four steps
    actor, actions, rewards = Remembering(policy, params), [], []
    for episode in seen:
        actor.begin()
        for observation in episode:
            actions.append(torch.from_numpy(actor.act(observation.numpy())))
            rewards.append(float(observation.sum()))
            actor.see(rewards[-1])
    codes = policy.code(torch.stack(actions), torch.float64)
    before = torch.cat([torch.zeros(1, 2, dtype=torch.float64), codes[:-1]])
    paid = torch.tensor([0.0, *rewards[:-1]], dtype=torch.float64)
    begins = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0], dtype=torch.float64)
    output, _ = policy.sequence(params, policy.inputs(seen.flatten(0, 1), before, paid, begins)[None])
    torch.testing.assert_close(torch.stack(actions), output.distribution.mode()[0], rtol=1e-12, atol=1e-13)
