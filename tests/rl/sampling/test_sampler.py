"""The sampler: seeds, masks, the same data however it is simulated, third-party environments, faults."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from maml_rl.core.tree import expand
from maml_rl.rl.environments.vector import EnvironmentConfig, EnvironmentError, make_vector
from maml_rl.rl.policies import Policy, categorical_mlp, gaussian_mlp
from maml_rl.rl.sampling.actors import memoryless
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import ACTIONS, RESETS, child_seed, drawing_seed, task_seeds
from maml_rl.rl.sampling.stepping import SimulationError
from maml_rl.rl.sampling.trajectories import Trajectories

CPU = torch.device("cpu")
FIELDS = [name for name in Trajectories.__dataclass_fields__ if name != "successes"]


def _sample(
    config: EnvironmentConfig, policy: Policy, tasks: int = 3, episodes: int = 2, seed: int = 0
) -> Trajectories:
    sampler = Sampler(config, tasks, episodes, CPU, torch.float64)
    try:
        params = expand(policy.initial(torch.Generator().manual_seed(0), torch.float64), tasks)
        drawn = sampler.stepper.draw_tasks(np.random.SeedSequence(7))
        return sampler.sample(memoryless(policy), params, drawn, task_seeds(seed, 0, 0, 0, tasks))[0]
    finally:
        sampler.close()


def _equal(first: Trajectories, second: Trajectories) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in FIELDS)


CHEETAH = EnvironmentConfig("envs:HalfCheetahVel-v0", {"horizon": 20})
NAVIGATION = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 30, "goal_radius": 0.2})


def test_the_same_seed_gives_the_same_data_for_one_and_two_simulation_threads() -> None:
    policy = gaussian_mlp(17, 6, (8,))
    one, two, again = (
        _sample(replace(CHEETAH, vector_arguments={"num_threads": threads}), policy) for threads in (1, 2, 2)
    )
    assert _equal(one, two)
    assert _equal(two, again)
    assert not _equal(one, _sample(CHEETAH, policy, seed=1))


@pytest.mark.parametrize(
    ("config", "policy"), [(CHEETAH, gaussian_mlp(17, 6, (8,))), (NAVIGATION, gaussian_mlp(2, 2, (8,)))]
)
def test_native_and_sync_vectors_give_the_same_data(config: EnvironmentConfig, policy: Policy) -> None:
    assert _equal(_sample(config, policy), _sample(replace(config, backend="sync"), policy))


def test_a_tasks_data_do_not_depend_on_how_many_tasks_run_beside_it() -> None:
    policy = gaussian_mlp(2, 2, (8,))
    sampler = Sampler(NAVIGATION, 5, 2, CPU, torch.float64)
    params = expand(policy.initial(torch.Generator().manual_seed(0), torch.float64), 5)
    tasks = sampler.stepper.draw_tasks(np.random.SeedSequence(7))
    many, _ = sampler.sample(memoryless(policy), params, tasks, task_seeds(0, 0, 0, 0, 5))
    alone, _ = Sampler(NAVIGATION, 1, 2, CPU, torch.float64).sample(
        memoryless(policy),
        expand({name: leaf[0] for name, leaf in params.items()}, 1),
        tasks[:1],
        task_seeds(0, 0, 0, 0, 1),
    )
    length = alone.mask.shape[-1]
    torch.testing.assert_close(many.observations[:1, :, :length] * many.mask[:1, :, :length, None],
                               alone.observations * alone.mask[..., None], rtol=1e-12, atol=1e-12)  # fmt: skip
    torch.testing.assert_close(many.returns[:1], alone.returns, rtol=1e-12, atol=1e-12)


def test_parameters_without_a_task_dimension_are_those_of_all_tasks() -> None:
    for config, policy in ((NAVIGATION, gaussian_mlp(2, 2, (8,))), (CHEETAH, gaussian_mlp(17, 6, ()))):
        sampler = Sampler(config, 3, 2, CPU, torch.float64)
        params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
        tasks = sampler.stepper.draw_tasks(np.random.SeedSequence(7))
        shared, copied = (
            sampler.sample(memoryless(policy), each, tasks, task_seeds(0, 0, 0, 0, 3))[0]
            for each in (params, expand(params, 3))
        )
        for name in FIELDS:
            torch.testing.assert_close(getattr(shared, name), getattr(copied, name), rtol=1e-12, atol=1e-12)


def test_each_iteration_step_and_task_has_its_own_noise() -> None:
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    parents = [seed for key in keys for seed in task_seeds(*key, tasks=3)]
    used = [child_seed(seed, child) for seed in parents for child in (RESETS, ACTIONS)]
    used += [drawing_seed(*key[:3]) for key in keys[:4]]
    assert len({tuple(seed.generate_state(4)) for seed in used}) == 2 * 15 + 4
    data = _sample(CHEETAH, gaussian_mlp(17, 6, (8,)))
    first_actions = data.actions[:, :, 0].flatten(0, 1)
    assert len(torch.unique(first_actions, dim=0)) == 6


def test_masks_end_with_the_episode_and_count_its_steps() -> None:
    data = _sample(NAVIGATION, gaussian_mlp(2, 2, (8,)), tasks=6, episodes=5)
    lengths = data.mask.sum(-1)
    assert (data.mask[..., :-1] >= data.mask[..., 1:]).all()  # ones, then zeros
    assert len(torch.unique(lengths)) > 2
    assert not (data.rewards * (1 - data.mask)).any()
    assert not (data.log_probs * (1 - data.mask)).any()
    assert data.steps == int(lengths.sum())
    assert data.terminated.any()
    assert (data.terminated | (lengths == 30)).all()
    # The position after the last step is within the goal box exactly where the task ended the episode.
    sampler = Sampler(NAVIGATION, 6, 5, CPU, torch.float64)
    goals = torch.tensor(
        [task["goal"] for task in sampler.stepper.draw_tasks(np.random.SeedSequence(7))], dtype=torch.float64
    )
    inside = ((data.last_observations - goals[:, None]).abs() < 0.2).all(-1)
    assert torch.equal(inside, data.terminated)


def test_data_equal_a_plain_loop_over_one_environment() -> None:
    policy = gaussian_mlp(2, 2, (8,))
    data = _sample(NAVIGATION, policy, tasks=2, episodes=2)
    sampler = Sampler(NAVIGATION, 2, 2, CPU, torch.float64)
    tasks = sampler.stepper.draw_tasks(np.random.SeedSequence(7))
    params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    for task in range(2):
        for episode in range(2):
            env = gym.make("envs:Navigation2D-v0", horizon=30, goal_radius=0.2)
            observation, _ = env.reset(options={"task": tasks[task]})
            total = 0.0
            for t in range(int(data.mask[task, episode].sum())):
                np.testing.assert_array_equal(observation, data.observations[task, episode, t].numpy())
                action = data.actions[task, episode, t]
                log_prob = policy.act(params, torch.as_tensor(observation)[None]).log_prob(action[None])
                assert float(log_prob) == pytest.approx(float(data.log_probs[task, episode, t]), abs=1e-12)
                observation, reward, ended, cut, _ = env.step(action.numpy())
                total += float(reward)
            assert ended or cut
            assert bool(data.terminated[task, episode]) == ended
            assert float(data.returns[task, episode]) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_an_environment_from_elsewhere_runs_without_a_vector_version(third_party: str, backend: Any) -> None:
    config = EnvironmentConfig(f"{third_party}:Corridor-v0", backend=backend)
    data = _sample(config, categorical_mlp(1, 2, (8,)), tasks=4, episodes=3)
    assert data.observations.shape[:2] == (4, 3)
    assert data.mask.shape[-1] <= 8
    assert data.actions.max() == 1  # choices from 0; the environment's actions start at 3
    envs = make_vector(config, 1)
    sides = [
        task["side"] for task in envs.sample_tasks(4, np.random.Generator(np.random.PCG64(np.random.SeedSequence(7))))
    ]
    envs.close()
    # r = side * position, so each task's rewards tell its side apart.
    positions = torch.cat(
        [data.observations[:, :, 1:, 0], data.last_observations[:, :, None, 0].expand(-1, -1, 1)], dim=2
    )
    both = data.mask[..., :-1] * data.mask[..., 1:]
    for task, side in enumerate(sides):
        torch.testing.assert_close(
            (data.rewards[task, :, :-1] * both[task]), side * positions[task, :, :-1] * both[task]
        )


def test_sync_and_async_give_the_same_data(third_party: str) -> None:
    config, policy = EnvironmentConfig(f"{third_party}:Corridor-v0"), categorical_mlp(1, 2, (8,))
    assert _equal(_sample(config, policy), _sample(replace(config, backend="async"), policy))


@pytest.mark.filterwarnings("ignore:.*NaN value")
@pytest.mark.parametrize(
    ("fault", "message"),
    [("nan", r"task \d .*time step \d+: the reward is not a finite"), ("raise", "time step .*the wall fell down")],
)
def test_faults_of_an_environment_are_told_with_task_and_time(third_party: str, fault: str, message: str) -> None:
    config = EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": fault})
    with pytest.raises(SimulationError, match=message):
        _sample(config, categorical_mlp(1, 2, (8,)))


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_step_that_fails_is_found_before_any_work(third_party: str, backend: Any) -> None:
    config = EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "raise at once"}, backend=backend)
    sampler = Sampler(config, 2, 2, torch.device("cpu"), torch.float64)
    told = r"at time step 0: .*the wall fell down\. \(scripts/check_env\.py says more\)$"
    with pytest.raises(ValueError, match=told):
        sampler.stepper.try_out()
    sampler.close()


@pytest.mark.filterwarnings("ignore:.*(NaN value|is not within)")
def test_what_an_environment_does_after_its_episode_is_nobodys_data(third_party: str) -> None:
    policy = categorical_mlp(1, 2, (8,))
    sound = _sample(EnvironmentConfig(f"{third_party}:Corridor-v0", max_episode_steps=20), policy, episodes=6)
    late = _sample(
        EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "late nan"}, max_episode_steps=20), policy, episodes=6
    )
    assert len(torch.unique(sound.mask.sum(-1))) > 1
    assert _equal(sound, late)


def test_a_policy_that_is_not_finite_is_told_from_the_environment() -> None:
    policy = gaussian_mlp(2, 2, (8,))
    sampler = Sampler(NAVIGATION, 2, 2, CPU, torch.float64)
    params = expand(policy.initial(torch.Generator(), torch.float64), 2)
    params["layer1.bias"] = torch.tensor([[0.0, 0.0], [0.0, float("nan")]], dtype=torch.float64)
    with pytest.raises(FloatingPointError, match=r"task 1 .*policy's output"):
        sampler.sample(
            memoryless(policy), params, sampler.stepper.draw_tasks(np.random.SeedSequence(1)), task_seeds(0, 0, 0, 0, 2)
        )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EnvironmentConfig("envs:Nothing-v0"), "cannot be made"),
        (EnvironmentConfig("envs:AntVel-v0", {"speed": 3}), "its constructor has no argument 'speed'"),
        (EnvironmentConfig("no_such_package:Nothing-v0"), "No module named"),
        (EnvironmentConfig("CartPole-v1"), "lacks sample_tasks and set_task"),
        (EnvironmentConfig("CartPole-v1", backend="native"), "no native vector version that is a"),
        (EnvironmentConfig("envs:Navigation2D-v0", {"goal_range": -1.0}), "`goal_range` must be a positive number"),
        (EnvironmentConfig("envs:Navigation2D-v0", {"gaol": 1.0}), "gaol"),
        (EnvironmentConfig("envs:Navigation2D-v0", vector_arguments={"a": 1}, backend="sync"), "vector_arguments"),
    ],
)
def test_environments_that_do_not_fit_are_refused(config: EnvironmentConfig, message: str) -> None:
    with pytest.raises(EnvironmentError, match=message):
        Sampler(config, 1, 1, CPU, torch.float32)


def test_faults_of_an_environment_from_elsewhere_at_construction(third_party: str) -> None:
    for config, message in (
        (EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "constructor"}), "the motor is missing"),
        (EnvironmentConfig(f"{third_party}:Corridor-v0", backend="native"), "no native vector version"),
        (EnvironmentConfig(f"{third_party}:NoTasks-v0"), "lacks sample_tasks and set_task"),
        (EnvironmentConfig(f"{third_party}:Endless-v0"), "set environment.max_episode_steps"),
    ):
        with pytest.raises(EnvironmentError, match=message):
            Sampler(config, 1, 1, CPU, torch.float32)
    config = EnvironmentConfig(f"{third_party}:Endless-v0", max_episode_steps=5)
    assert _sample(config, categorical_mlp(1, 2, (8,))).mask.shape[-1] <= 5
    longer = Sampler(EnvironmentConfig(f"{third_party}:Corridor-v0", max_episode_steps=11), 1, 1, CPU, torch.float32)
    assert longer.stepper.horizon == 11  # Gymnasium's own limit of the registration gives way, as in gym.make


def test_an_episode_succeeds_if_one_of_its_own_steps_did(third_party: str) -> None:
    config = EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "success"})
    data = _sample(config, categorical_mlp(1, 2, (8,)), tasks=4, episodes=6)
    assert data.successes is not None
    # Positions after each step that counts: those observed before the next one, and the last.
    after = torch.cat([data.observations[..., 1:, 0], data.last_observations], dim=-1)
    length = data.mask.sum(-1).long()
    for task in range(4):
        for episode in range(6):
            steps = int(length[task, episode])
            seen = torch.cat([after[task, episode, : steps - 1], data.last_observations[task, episode]])
            assert bool((seen.abs() > 3.3).any()) == bool(data.successes[task, episode])
    assert 0 < int(data.successes.sum()) < 24
    assert _sample(replace(config, arguments={}), categorical_mlp(1, 2, (8,))).successes is None
