"""The noisy chain: its rewards' laws, its end, and true values of states against returns that are played."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from maml_rl.rl.environments.checking import check_task_env
from maml_rl.rl.environments.task_env import HasStateValues
from maml_rl.rl.environments.vector import EnvironmentConfig, make_vector


def _played(count: int, signal: float, **arguments: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Observations [T, n, states] that steps leave, and their rewards [T, n], of whole episodes."""
    envs = gym.make_vec("envs:NoisyChain-v0", num_envs=count, signal=[-9.0, 9.0], **arguments)
    observed, _ = envs.reset(seed=3, options={"tasks": [{"signal": signal}] * count})
    observations, rewards = [], []
    for _ in range(envs.horizon):
        observations.append(observed)
        observed, reward, terminated, *_ = envs.step(np.zeros(count, int))
        rewards.append(reward)
        assert terminated.tolist() == [len(rewards) == envs.single_observation_space.shape[0]] * count
    assert not observed.any()  # behind the end
    return np.array(observations), np.array(rewards)


def test_states_follow_one_another_and_pay_noise_and_signal_in_turn() -> None:
    observations, rewards = _played(20_000, 0.3, states=5, noise=2.0)
    np.testing.assert_array_equal(observations, np.broadcast_to(np.eye(5)[:, None], observations.shape))
    assert (rewards[1::2] == 0.3).all()
    for drawn in rewards[::2]:
        assert stats.kstest(drawn, stats.norm(0, 2).cdf).pvalue > 0.01
    correlations = np.corrcoef(rewards[::2]) - np.eye(3)
    assert np.abs(correlations).max() < 4 / np.sqrt(20_000)


def test_the_paper_s_chain_is_the_default() -> None:
    env = gym.make("envs:NoisyChain-v0").unwrapped
    assert (env.horizon, env.action_space) == (10, gym.spaces.Discrete(1))
    assert env.sample_tasks(2, np.random.default_rng(0)) == [{"signal": 0.1}] * 2
    env.reset(seed=0)
    steps = [env.step(0) for _ in range(10)]
    assert [step[1] for step in steps[1::2]] == [0.1] * 5
    assert [step[2] for step in steps] == [False] * 9 + [True]


@pytest.mark.parametrize(
    ("states", "values"), [(1, [0.0]), (2, [0.5, 0.5]), (3, [0.5, 0.5, 0.0]), (4, [1.0, 1.0, 0.5, 0.5])]
)
def test_values_of_small_chains(states: int, values: list[float]) -> None:
    env = gym.make("envs:NoisyChain-v0", states=states, signal=0.5).unwrapped
    observations, known = env.state_values({"signal": 0.5})
    np.testing.assert_array_equal(observations, np.eye(states))
    np.testing.assert_array_equal(known, values)


@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_values_are_the_mean_returns_from_each_state(noise: float) -> None:
    envs = gym.make_vec("envs:NoisyChain-v0", num_envs=1)
    observations, values = envs.state_values({"signal": -0.7})
    seen, rewards = _played(10_000, -0.7, noise=noise)
    np.testing.assert_array_equal(seen[:, 0], observations)
    returns = rewards[::-1].cumsum(0)[::-1]
    errors = returns.std(1) / np.sqrt(returns.shape[1])
    assert (np.abs(returns.mean(1) - values) <= 4 * errors + 1e-12).all()


@pytest.mark.parametrize("backend", ["native", "sync"])
@pytest.mark.parametrize("show_task", [False, True])
def test_every_backend_passes_the_values_on(backend: Any, show_task: bool) -> None:
    config = EnvironmentConfig("envs:NoisyChain-v0", {"signal": [0.0, 1.0]}, backend=backend, show_task=show_task)
    envs = make_vector(config, 2)
    assert isinstance(envs, HasStateValues)
    known = envs.state_values({"signal": 0.25})
    assert known is not None
    first = known[0][0], known[1].tolist()
    envs.set_tasks([{"signal": 0.25}] * 2)
    np.testing.assert_array_equal(first[0], envs.reset(seed=[0, 1])[0][1])
    assert first[1] == [1.25, 1.25, 1.0, 1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    envs.close()


@pytest.mark.parametrize("backend", ["native", "sync"])
@pytest.mark.parametrize("show_task", [False, True])
def test_where_no_values_are_known_there_are_none(backend: Any, show_task: bool) -> None:
    envs = make_vector(EnvironmentConfig("envs:Bandit-v0", backend=backend, show_task=show_task), 2)
    assert isinstance(envs, HasStateValues)
    assert envs.state_values(envs.sample_tasks(1, np.random.default_rng(0))[0]) is None  # type: ignore[attr-defined]
    envs.close()


def test_the_check_of_environments_says_nothing() -> None:
    assert check_task_env("envs:NoisyChain-v0", signal=[0.0, 1.0]) == []
    assert not any(finding.serious for finding in check_task_env("envs:NoisyChain-v0"))


def test_the_picture_shows_the_place() -> None:
    env = gym.make("envs:NoisyChain-v0", render_mode="rgb_array", states=3).unwrapped
    env.reset(seed=0)
    pictures = [env.render()]
    for _ in range(3):
        env.step(0)
        pictures.append(env.render())
    assert len({picture.tobytes() for picture in pictures}) == 4


@pytest.mark.parametrize("show_task", [False, True])
def test_an_environment_from_elsewhere_need_not_know_of_values(third_party: str, show_task: bool) -> None:
    envs = make_vector(EnvironmentConfig(f"{third_party}:Corridor-v0", show_task=show_task), 2)
    assert isinstance(envs, HasStateValues)
    assert envs.state_values(envs.sample_tasks(1, np.random.default_rng(0))[0]) is None  # type: ignore[attr-defined]
    envs.close()
