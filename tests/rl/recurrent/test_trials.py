"""Trials: memory over episodes, whatever shape it has, and packing into sequences."""

import pytest
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.types import Params
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.recurrent.gru_policy import RecurrentPolicy
from maml_rl.rl.recurrent.trials import Trials, pack, sample_trials
from maml_rl.rl.sampling.stepping import SimulationError
from maml_rl.rl.sampling.trajectories import Trajectories
from tests.rl.recurrent.played import NAVIGATION, made, seeds_of, trials_of
from tests.rl.recurrent.toy_policy import toy_policy


@pytest.fixture(params=["navigation", "corridor"])
def environment(request: pytest.FixtureRequest, third_party: str) -> EnvironmentConfig:
    """One with continuous actions and full episodes, one with discrete actions and episodes that end early."""
    return NAVIGATION if request.param == "navigation" else EnvironmentConfig(f"{third_party}:Corridor-v0")


def _replayed(policy: RecurrentPolicy, params: Params, trials: Trials) -> Tensor:
    """Log-probabilities of the trials' actions as the fused sequence has them."""
    output = policy.sequence(params, trials.observations, trials.actions, trials.rewards, trials.episode_starts)
    return output.distribution.log_prob(trials.actions) * trials.mask


def test_the_memory_is_blank_before_a_trial_and_goes_on_over_its_episodes(environment: EnvironmentConfig) -> None:
    sampler, policy, params = made(environment, 3, 2)
    tasks, seeds, actor = sampler.stepper.draw_tasks(SeedSequence(0)), seeds_of(3), policy.actor()
    assert all(not part.any() for part in policy.begin((3, 2), torch.zeros(())))
    first, memory = sampler.sample(actor, params, tasks, seeds(0))
    again, _ = sampler.sample(actor, params, tasks, seeds(1), memory)
    # Also where an episode ended early: what the environment did afterwards is not remembered.
    expected = policy.begin_episode(policy.begin((3, 2), torch.zeros((), dtype=torch.float64)))
    for t in range(first.mask.shape[-1]):
        _, ahead = policy.step(params, expected, first.observations[:, :, t])
        ahead = policy.remember(ahead, first.actions[:, :, t], first.rewards[:, :, t])
        alive = first.mask[:, :, t] > 0
        expected = type(ahead)(
            *(
                torch.where(alive.view(3, 2, *[1] * (new.dim() - 2)), new, old)
                for new, old in zip(ahead, expected, strict=True)
            )
        )
    for part, wanted in zip(memory, expected, strict=True):
        torch.testing.assert_close(part, wanted, rtol=0, atol=1e-12)
    assert not memory.starts.any()
    # The second episode's first step begins where the first one's last step has ended.
    output, _ = policy.step(params, policy.begin_episode(memory), again.observations[:, :, 0])
    log_probs = output.distribution.log_prob(again.actions[:, :, 0])
    torch.testing.assert_close(log_probs, again.log_probs[:, :, 0], rtol=0, atol=1e-12)
    sampler.close()


def test_a_memory_may_be_any_tree() -> None:
    config = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 8, "goal_radius": 0.3, "action_scale": 1.0})
    policy, params, played = trials_of(config, policy=toy_policy())
    trials = pack(played)
    assert float(played[0].mask.sum(-1).min()) < 8
    torch.testing.assert_close(_replayed(policy, params, trials), trials.log_probs, rtol=0, atol=1e-12)
    sampler, policy, params = made(config, 3, 2, toy_policy())
    tasks, seeds = sampler.stepper.draw_tasks(SeedSequence(0)), seeds_of(3)
    first, memory = sampler.sample(policy.actor(), params, tasks, seeds(0))
    second, memory = sampler.sample(policy.actor(), params, tasks, seeds(1), memory)
    lived = first.mask.sum(-1) + second.mask.sum(-1)
    mean, flags = memory["rewards"]
    assert torch.equal(memory["steps"], lived)
    assert torch.equal(memory["episodes"], torch.full((3, 2), 2.0, dtype=torch.float64))
    torch.testing.assert_close(mean, (first.returns + second.returns) / lived, rtol=1e-12, atol=1e-12)
    assert not flags["begins"].any()
    sampler.close()


def test_episodes_of_different_lengths_occur(third_party: str) -> None:
    _, _, played = trials_of(EnvironmentConfig(f"{third_party}:Corridor-v0"))
    lengths = played[0].mask.sum(-1)
    assert lengths.min() < lengths.max()


def test_the_learner_reads_what_the_sampler_saw(environment: EnvironmentConfig) -> None:
    policy, params, played = trials_of(environment)
    trials = pack(played)
    torch.testing.assert_close(_replayed(policy, params, trials), trials.log_probs, rtol=0, atol=1e-12)


def test_trials_are_the_episodes_steps_one_after_another(environment: EnvironmentConfig) -> None:
    _, _, played = trials_of(environment)
    trials = pack(played)
    for task in range(3):
        for copy in range(2):
            steps = [
                (episode.observations[task, copy, t], episode.actions[task, copy, t], episode.rewards[task, copy, t],
                 episode.log_probs[task, copy, t], float(t == 0))
                for episode in played
                for t in range(episode.mask.shape[-1])
                if episode.mask[task, copy, t]
            ]  # fmt: skip
            row = 2 * task + copy
            assert trials.mask[row].tolist() == [1.0] * len(steps) + [0.0] * (trials.mask.shape[1] - len(steps))
            for place, (observation, action, paid, log_prob, starts) in enumerate(steps):
                assert torch.equal(trials.observations[row, place], observation)
                assert torch.equal(trials.actions[row, place], action)
                assert trials.rewards[row, place] == paid
                assert trials.log_probs[row, place] == log_prob
                assert trials.episode_starts[row, place] == starts
            assert not trials.rewards[row, len(steps) :].any()
            assert not trials.log_probs[row, len(steps) :].any()


def test_the_order_of_tasks_does_not_matter(environment: EnvironmentConfig) -> None:
    sampler, policy, params = made(environment, 3, 2)
    tasks, order, seeds = sampler.stepper.draw_tasks(SeedSequence(0)), [2, 0, 1], seeds_of(3)
    straight = sample_trials(sampler, policy, params, tasks, seeds, 2)
    mixed = sample_trials(sampler, policy, params, [tasks[i] for i in order], lambda k: [seeds(k)[i] for i in order], 2)
    for one, other in zip(straight, mixed, strict=True):
        torch.testing.assert_close(one.rewards[order], other.rewards, rtol=0, atol=1e-12)
        torch.testing.assert_close(one.log_probs[order], other.log_probs, rtol=0, atol=1e-12)
    sampler.close()


def test_copies_of_a_task_are_apart() -> None:
    _, _, played = trials_of(NAVIGATION)
    assert not torch.equal(played[0].actions[:, 0], played[0].actions[:, 1])
    assert not torch.equal(played[0].actions, played[1].actions)


def test_faults_of_the_environment_are_told(third_party: str) -> None:
    with pytest.raises(SimulationError, match="the wall fell down"):
        trials_of(EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "raise"}))


def test_successes_and_lengths_stay_with_the_episodes(third_party: str) -> None:
    _, _, played = trials_of(EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "success"}))
    assert all(isinstance(episode, Trajectories) and episode.successes is not None for episode in played)
