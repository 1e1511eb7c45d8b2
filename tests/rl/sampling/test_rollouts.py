"""Rollouts that go on across the ends of episodes: halves make a whole, ends are told, memories hear of beginnings."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.tree import map_tree, place
from maml_rl.core.types import Params
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import categorical_mlp, gaussian_mlp
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig, recurrent_for
from maml_rl.rl.sampling.actors import Actor, memoryless
from maml_rl.rl.sampling.sampler import Carry, Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from maml_rl.rl.sampling.stepping import SimulationError
from maml_rl.rl.sampling.trajectories import Rollout
from tests.rl.recurrent.toy_policy import toy_policy

TASKS, EPISODES, HORIZON = 3, 2, 7
RESETS, NOISE = task_seeds(5, 0, 0, 0, TASKS), task_seeds(6, 0, 0, 0, TASKS)
CONFIGS = {
    "native": EnvironmentConfig("envs:Navigation2D-v0", {"horizon": HORIZON, "goal_radius": 0.3, "action_scale": 1.0}),
    "native, shortened": EnvironmentConfig(
        "envs:Navigation2D-v0", {"goal_radius": 0.3, "action_scale": 1.0}, max_episode_steps=HORIZON
    ),
    "from elsewhere": EnvironmentConfig("Corridor-v0", max_episode_steps=HORIZON),
}


class Playing(NamedTuple):
    """A sampler, an actor with a memory, and its parameters."""

    sampler: Sampler
    actor: Actor
    params: Params

    def start(self) -> Carry:
        """Episodes of the same tasks from the same seeds."""
        return self.sampler.start(self.actor, self.sampler.stepper.draw_tasks(SeedSequence(7)), RESETS)

    def rollout(self, carry: Carry, steps: int) -> tuple[Rollout, Carry]:
        """Goes on with the usual noise."""
        return self.sampler.rollout(self.actor, self.params, carry, NOISE, steps)


def playing_in(config: EnvironmentConfig, device: torch.device) -> Playing:
    """A recurrent policy in an environment."""
    sampler = Sampler(config, TASKS, EPISODES, device, torch.float64)
    envs = sampler.stepper.envs
    policy = recurrent_for(RecurrentConfig(6, [5]), envs.single_observation_space, envs.single_action_space)
    params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    return Playing(sampler, policy.actor(), place(map_tree(lambda leaf: leaf + 0.2, params), device))


@pytest.fixture(params=CONFIGS)
def playing(request: pytest.FixtureRequest, third_party: str) -> Iterator[Playing]:
    if request.param == "from elsewhere":
        __import__(third_party)
    made = playing_in(CONFIGS[request.param], torch.device("cpu"))
    yield made
    made.sampler.close()


def _joined(parts: list[Rollout]) -> dict[str, Tensor]:
    return {field.name: torch.cat([getattr(part, field.name) for part in parts], dim=2) for field in fields(Rollout)}


def _taped(actor: Actor, first: int, steps: int) -> Actor:
    """The actor with the noise of steps `first` on, out of a rollout of `steps`."""

    def draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return actor.draw_noise(rng, (steps, *shape[1:]))[first : first + shape[0]]

    return actor._replace(draw_noise=draw_noise)


def _require_equal(first: Any, second: Any) -> None:
    pairs = map_tree(lambda one, two: (one.dtype == two.dtype, torch.equal(one, two)), first, second)
    assert "False" not in str(pairs), pairs


def test_two_halves_are_the_whole(playing: Playing) -> None:
    steps = 4 * HORIZON
    whole, end = playing.rollout(playing.start(), steps)
    carry, halves = playing.start(), []
    for first in (0, steps // 2):
        taped = playing._replace(actor=_taped(playing.actor, first, steps))
        half, carry = taped.rollout(carry, steps // 2)
        halves.append(half)
    assert whole.rewards.shape == (TASKS, EPISODES, steps)
    _require_equal(_joined(halves), _joined([whole]))
    _require_equal(carry.memory, end.memory)
    np.testing.assert_array_equal(carry.observations, end.observations)
    np.testing.assert_array_equal(carry.elapsed, end.elapsed)


def test_a_rollout_leaves_its_carry_as_it_was(playing: Playing) -> None:
    carry = playing.start()
    kept = Carry(carry.observations.copy(), map_tree(torch.clone, carry.memory), carry.elapsed.copy(), carry.tasks)
    playing.rollout(carry, 2 * HORIZON)
    np.testing.assert_array_equal(carry.observations, kept.observations)
    np.testing.assert_array_equal(carry.elapsed, kept.elapsed)
    _require_equal(carry.memory, kept.memory)


def test_the_first_episodes_are_those_that_sample_plays(playing: Playing) -> None:
    sampler, actor, params = playing
    seen, _ = sampler.sample(actor, params, sampler.stepper.draw_tasks(SeedSequence(7)), RESETS)
    again, _ = sampler.rollout(actor, params, playing.start(), RESETS, 2 * HORIZON)
    for task in range(TASKS):
        for copy in range(EPISODES):
            length = int(seen.mask[task, copy].sum())
            for name in ("observations", "actions", "rewards"):
                ours, wanted = getattr(again, name)[task, copy, :length], getattr(seen, name)[task, copy, :length]
                assert torch.equal(ours, wanted), name
            log_probs = seen.log_probs[task, copy, :length]
            torch.testing.assert_close(again.log_probs[task, copy, :length], log_probs, rtol=0, atol=1e-12)
            assert torch.equal(again.next_observations[task, copy, length - 1], seen.last_observations[task, copy])
            assert bool(again.terminated[task, copy, length - 1]) == bool(seen.terminated[task, copy])
            assert bool(again.episode_starts[task, copy, length])


def test_ends_and_beginnings_are_told(playing: Playing) -> None:
    carry = playing.start()
    rollout, after = playing.rollout(carry, 8 * HORIZON)
    ends = rollout.terminated | rollout.truncated
    assert not (rollout.terminated & rollout.truncated).any()
    assert rollout.episode_starts[..., 0].all()
    assert torch.equal(rollout.episode_starts[..., 1:], ends[..., :-1])
    following = rollout.observations[..., 1:, :]
    assert torch.equal(rollout.next_observations[..., :-1, :][~ends[..., :-1]], following[~ends[..., :-1]])
    assert (rollout.next_observations[..., :-1, :] != following).any(-1)[ends[..., :-1]].all()
    # An episode lasts until the task ends it, and no longer than the horizon.
    beginnings = torch.arange(8 * HORIZON) * rollout.episode_starts
    lengths = torch.arange(8 * HORIZON) - beginnings.cummax(-1).values + 1
    assert torch.equal(rollout.truncated, (lengths == HORIZON) & ~rollout.terminated)
    assert torch.equal(torch.from_numpy(after.elapsed), (lengths * ~ends)[..., -1].flatten())
    assert torch.equal(rollout.terminated, _inside(rollout.next_observations, carry))
    assert rollout.terminated.any()
    assert rollout.truncated.any()
    fresh = following[ends[..., :-1]]
    assert (fresh.abs() <= (0.5 if fresh.shape[-1] == 1 else 0.0)).all()


def _inside(places: Tensor, carry: Carry) -> Tensor:
    """Where the task is over: behind the corridor's ends, or in the box around the goal."""
    if places.shape[-1] == 1:
        return places[..., 0].abs() > 3
    goals = torch.tensor([task["goal"] for task in carry.tasks], dtype=places.dtype)
    return ((places - goals[:, None, None]).abs() < 0.3).all(-1)


def test_a_vector_may_write_into_its_arrays_again(playing: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = playing.rollout(playing.start(), 2 * HORIZON)
    envs, reused = playing.sampler.stepper.envs, list[np.ndarray]()
    step = envs.step

    def stepped(actions: Any) -> Any:
        *arrays, info = step(actions)
        reused[:] = reused or [np.array(array) for array in arrays]
        for buffer, array in zip(reused, arrays, strict=True):
            buffer[:] = array
        return *reused, info

    monkeypatch.setattr(envs, "step", stepped)
    rollout, _ = playing.rollout(playing.start(), 2 * HORIZON)
    _require_equal(_joined([rollout]), _joined([expected]))


def test_a_memory_is_told_of_an_episode_where_it_begins_and_only_there(playing: Playing) -> None:
    flags = []

    def act(params: Params, memory: Any, observations: Tensor) -> Any:
        flags.append(memory.starts)
        return playing.actor.act(params, memory, observations)

    watched = playing._replace(actor=playing.actor._replace(act=act))
    carry, rollouts = watched.start(), []
    for _ in range(2):
        rollout, carry = watched.rollout(carry, 2 * HORIZON)
        rollouts.append(rollout)
    starts = torch.cat([rollout.episode_starts for rollout in rollouts], dim=-1)
    assert torch.equal(torch.stack(flags, dim=-1) > 0, starts)
    assert 0 < int(starts[..., 1:].sum()) < starts[..., 1:].numel()


def test_a_memory_may_be_any_tree() -> None:
    config, policy = CONFIGS["native"], toy_policy()
    sampler = Sampler(config, TASKS, EPISODES, torch.device("cpu"), torch.float64)
    params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    playing, steps = Playing(sampler, policy.actor(), params), 3 * HORIZON
    rollout, carry = playing.rollout(playing.start(), steps)
    pending = (rollout.terminated | rollout.truncated)[..., -1]
    assert torch.equal(carry.memory["steps"], torch.full((TASKS, EPISODES), float(steps), dtype=torch.float64))
    assert torch.equal(carry.memory["episodes"], (rollout.episode_starts.sum(-1) + pending).double())
    mean, flags = carry.memory["rewards"]
    torch.testing.assert_close(mean, rollout.rewards.mean(-1), rtol=1e-12, atol=1e-12)
    assert torch.equal(flags["begins"] > 0, pending)
    flat = [part.flatten(0, 1) for part in (rollout.observations, rollout.actions, rollout.rewards)]
    output = policy.sequence(params, *flat, rollout.episode_starts.flatten(0, 1).double())
    log_probs = output.distribution.log_prob(flat[1]).view_as(rollout.log_probs)
    torch.testing.assert_close(rollout.log_probs, log_probs, rtol=0, atol=1e-12)
    sampler.close()


def test_a_horizon_below_the_environments_own_ends_episodes_too() -> None:
    policy = toy_policy()
    sampler = Sampler(CONFIGS["native"], TASKS, EPISODES, torch.device("cpu"), torch.float64)
    sampler.stepper.horizon = 3
    playing = Playing(sampler, policy.actor(), policy.initial(torch.Generator().manual_seed(0), torch.float64))
    rollout, _ = playing.rollout(playing.start(), 12)
    assert int(rollout.episode_starts.sum(-1).min()) >= 4
    assert rollout.truncated.any()
    sampler.close()


def test_a_policy_without_a_memory_rolls_on() -> None:
    policy = gaussian_mlp(2, 2, (4,))
    sampler = Sampler(CONFIGS["native"], TASKS, EPISODES, torch.device("cpu"), torch.float32)
    params = policy.initial(torch.Generator().manual_seed(0), torch.float32)
    playing = Playing(sampler, memoryless(policy), params)
    rollout, carry = playing.rollout(playing.start(), 10)
    assert carry.memory == ()
    floats = (rollout.observations, rollout.next_observations, rollout.actions, rollout.rewards, rollout.log_probs)
    assert {part.dtype for part in floats} == {torch.float32}
    assert {part.dtype for part in (rollout.episode_starts, rollout.terminated, rollout.truncated)} == {torch.bool}
    sampler.close()


def test_faults_are_told_with_task_and_time(third_party: str) -> None:
    policy = categorical_mlp(1, 2, (4,))
    config = EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "raise"})
    sampler = Sampler(config, TASKS, EPISODES, torch.device("cpu"), torch.float64)
    params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    playing = Playing(sampler, memoryless(policy), params)
    with pytest.raises(SimulationError, match=r"at time step 1: .*the wall fell down"):
        playing.rollout(playing.start(), 4)
    sampler.close()


def test_observations_of_another_shape_are_refused_where_numpy_would_spread_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    playing = playing_in(CONFIGS["native"], torch.device("cpu"))
    carry, envs = playing.start(), playing.sampler.stepper.envs
    step = envs.step
    monkeypatch.setattr(envs, "step", lambda actions: (np.zeros((1, 2)), *step(actions)[1:]))
    with pytest.raises(SimulationError, match=r"step must return observations of shape \(6, 2\), got \(1, 2\)"):
        playing.rollout(carry, 2)
