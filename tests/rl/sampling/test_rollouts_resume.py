"""Rollouts that are stored and gone on with in a fresh sampler: bit by bit what they would have been."""

import io
from dataclasses import fields, replace

import pytest
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import PolicyConfig, policy_for
from maml_rl.rl.sampling.actors import Actor, memoryless
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from maml_rl.rl.sampling.trajectories import Rollout

TASKS, EPISODES, STEPS = 2, 2, 9
CASES = {
    "a life without an end": EnvironmentConfig("envs:TwoColours-v0", {"size": 3, "swap_every": 7}),
    "ends by the time limit": EnvironmentConfig("envs:TwoColours-v0", {"size": 3}, max_episode_steps=5),
    "ends by the task": EnvironmentConfig("envs:NoisyChain-v0", {"states": 4, "signal": [0.1, 0.9]}),
    "ends early or late": EnvironmentConfig(
        "envs:Navigation2D-v0", {"horizon": 7, "goal_radius": 0.3, "action_scale": 1.0}
    ),
    "a simulator": EnvironmentConfig("envs:HalfCheetahVel-v0", {"horizon": 6}),
    "a simulator that ends": EnvironmentConfig("envs:HopperRandParams-v0", {"horizon": 30}),
}


def _sampler(config: EnvironmentConfig) -> tuple[Sampler, Actor, dict[str, Tensor]]:
    sampler = Sampler(config, TASKS, EPISODES, torch.device("cpu"), torch.float64)
    envs = sampler.stepper.envs
    policy = policy_for(PolicyConfig([4]), envs.single_observation_space, envs.single_action_space)
    return sampler, memoryless(policy), policy.initial(torch.Generator().manual_seed(0), torch.float64)


def _on(config: EnvironmentConfig, carry: str, calls: range) -> list[tuple[Rollout, str]]:
    """Rollouts, and where each one ended, from the start or from what was stored, in a fresh sampler."""
    sampler, actor, params = _sampler(config)
    tasks = sampler.stepper.draw_tasks(SeedSequence(7))
    standing = (
        sampler.restored(carry, (), tasks) if carry else sampler.start(actor, tasks, task_seeds(5, 0, 0, 0, TASKS))
    )
    results = []
    for call in calls:
        rollout, standing = sampler.rollout(actor, params, standing, task_seeds(6, 0, call, 0, TASKS), STEPS)
        stored = sampler.stored(standing)
        assert stored
        results.append((rollout, stored))
    sampler.close()
    return results


def _require_same(one: tuple[Rollout, str], other: tuple[Rollout, str]) -> None:
    for part in fields(Rollout):
        assert torch.equal(getattr(one[0], part.name), getattr(other[0], part.name)), part.name
    assert one[1] == other[1]


@pytest.mark.parametrize("show_task", [False, True], ids=["", "task shown"])
@pytest.mark.parametrize("name", CASES)
def test_a_fresh_sampler_goes_on_as_the_one_before(name: str, show_task: bool) -> None:
    if show_task and name.startswith("a simulator"):
        pytest.skip("the wrapper does not look at the simulator")
    config = replace(CASES[name], show_task=show_task)
    whole = _on(config, "", range(5))
    ends = sum(int((rollout.terminated | rollout.truncated).sum()) for rollout, _ in whole[2:])
    assert (ends > 0) == (name != "a life without an end")
    file = io.BytesIO()
    torch.save(whole[1][1], file)
    file.seek(0)
    for ours, wanted in zip(_on(config, torch.load(file, weights_only=True), range(2, 5)), whole[2:], strict=True):
        _require_same(ours, wanted)


def test_what_is_stored_stays_when_rollouts_go_on() -> None:
    sampler, actor, params = _sampler(CASES["ends early or late"])
    tasks, seeds = sampler.stepper.draw_tasks(SeedSequence(7)), task_seeds(5, 0, 0, 0, TASKS)
    carry = sampler.start(actor, tasks, seeds)
    stored = sampler.stored(carry)
    assert stored
    rollouts = []
    for _ in range(3):
        rollout, _ = sampler.rollout(actor, params, sampler.restored(stored, (), tasks), seeds, STEPS)
        rollouts.append(rollout)
    assert torch.equal(rollouts[0].rewards, rollouts[2].rewards)
    sampler.close()


@pytest.mark.parametrize("show_task", [False, True])
def test_single_environments_cannot_be_stored(show_task: bool) -> None:
    sampler, actor, _ = _sampler(replace(CASES["ends early or late"], backend="sync", show_task=show_task))
    carry = sampler.start(actor, sampler.stepper.draw_tasks(SeedSequence(7)), task_seeds(5, 0, 0, 0, TASKS))
    assert sampler.stored(carry) == ""
    sampler.close()


def test_a_wrapped_vector_is_stored_only_if_what_it_wraps_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, actor, _ = _sampler(replace(CASES["ends early or late"], show_task=True))
    carry = sampler.start(actor, sampler.stepper.draw_tasks(SeedSequence(7)), task_seeds(5, 0, 0, 0, TASKS))
    assert sampler.stored(carry)
    monkeypatch.setattr(type(sampler.stepper.envs), "unwrapped", object())
    assert sampler.stored(carry) == ""
    sampler.close()
