"""Task environments as a vector environment of Stable-Baselines3, against its own DummyVecEnv of single ones."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from maml_rl.rl.environments.vector import EnvironmentConfig, make_vector
from maml_rl.sb3.vec_env import TaskVecEnv

SEED, COUNT = 11, 3
CASES = [
    ("envs:Navigation2D-v0", {"horizon": 20, "goal_radius": 0.2}),
    ("envs:HalfCheetahVel-v0", {"horizon": 15}),
    ("envs:HopperRandParams-v0", {"horizon": 60}),
    ("envs:TabularMDP-v0", {"horizon": 7}),
]


class _Fixed(gym.Wrapper):
    """Keeps one task through all episodes."""

    def __init__(self, name: str, arguments: dict[str, Any], task: dict[str, Any]) -> None:
        super().__init__(gym.make(name, **arguments))
        self.unwrapped.set_task(task)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_it_steps_as_a_dummy_vec_env_of_single_environments(name: str, arguments: dict[str, Any]) -> None:
    ours = TaskVecEnv(make_vector(EnvironmentConfig(name, arguments), COUNT), seed=SEED)
    tasks = ours.tasks
    assert len({str(task) for task in tasks}) == COUNT
    theirs = DummyVecEnv([lambda task=task: _Fixed(name, arguments, task) for task in tasks])
    theirs.seed(SEED)
    assert np.array_equal(ours.reset(), theirs.reset().astype(float))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(80):
        if isinstance(ours.action_space, gym.spaces.Discrete):
            actions = rng.integers(ours.action_space.n, size=COUNT)
        else:
            actions = rng.uniform(ours.action_space.low, ours.action_space.high, (COUNT, *ours.action_space.shape))
        seen, rewards, done, infos = ours.step(actions)
        expected, their_rewards, their_done, their_infos = theirs.step(actions)
        assert np.array_equal(seen, expected)
        assert np.array_equal(rewards, their_rewards)
        assert np.array_equal(done, their_done)
        for info, their_info in zip(infos, their_infos, strict=True):
            assert ("terminal_observation" in info) == ("terminal_observation" in their_info)
            if "terminal_observation" in info:
                assert np.array_equal(info["terminal_observation"], their_info["terminal_observation"])
                assert info["TimeLimit.truncated"] == their_info["TimeLimit.truncated"]
                ends += 1
    assert ends > COUNT
    ours.close()


def test_one_task_serves_all_and_can_be_changed() -> None:
    env = TaskVecEnv(make_vector(EnvironmentConfig(), 2), {"goal": [0.1, 0.1]})
    assert env.tasks == [{"goal": [0.1, 0.1]}] * 2
    env.reset()
    _, rewards, *_ = env.step(np.zeros((2, 2)))
    np.testing.assert_allclose(rewards, -np.hypot(0.1, 0.1), rtol=1e-6)
    env.set_tasks([{"goal": [0.5, 0.0]}, {"goal": [0.0, 0.2]}])
    env.reset()
    _, rewards, *_ = env.step(np.zeros((2, 2)))
    np.testing.assert_allclose(rewards, [-0.5, -0.2], rtol=1e-6)
    with pytest.raises(NotImplementedError, match="set_tasks"):
        env.set_attr("goal", 3)


@pytest.mark.parametrize(
    ("algorithm", "name", "arguments"),
    [
        (PPO, "envs:HalfCheetahVel-v0", {"n_steps": 20, "batch_size": 40}),
        (SAC, "envs:Navigation2D-v0", {"learning_starts": 10, "buffer_size": 500}),
        (DQN, "envs:Bandit-v0", {"learning_starts": 10, "buffer_size": 500}),
    ],
)
def test_any_algorithm_learns_on_it(algorithm: Any, name: str, arguments: dict[str, Any]) -> None:
    env = VecNormalize(VecMonitor(TaskVecEnv(make_vector(EnvironmentConfig(name, {"horizon": 10}), 4))))
    model = algorithm("MlpPolicy", env, device="cpu", seed=0, **arguments)
    model.learn(200)
    assert model.num_timesteps >= 200
    assert len(model.ep_info_buffer) > 0


def test_an_episodes_success_is_that_of_any_of_its_steps(third_party: str) -> None:
    config = EnvironmentConfig(f"{third_party}:Corridor-v0", {"fault": "success"})
    env = TaskVecEnv(make_vector(config, 1), {"side": 1})
    for _ in range(6):
        env.reset()
        so_far, done = False, np.array([False])
        while not done[0]:
            seen, _, done, (info,) = env.step(np.array([4]))
            place = info.get("terminal_observation", seen[0])
            so_far |= bool(abs(place[0]) > 3.3)
            assert info["is_success"] == so_far
