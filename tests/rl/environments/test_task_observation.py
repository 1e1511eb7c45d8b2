"""The oracle's observations: the environment's own, and behind them the numbers of its task."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from maml_rl.rl.environments.checking import check_task_env
from maml_rl.rl.environments.task_observation import task_numbers
from maml_rl.rl.environments.vector import EnvironmentConfig, EnvironmentError, make_single, make_vector

NAVIGATION = EnvironmentConfig(show_task=True)
TASKS: list[Any] = [{"goal": [0.1, -0.2]}, {"goal": [0.3, 0.4]}]


@pytest.mark.parametrize("backend", ["native", "sync", "async"])
def test_each_observation_ends_with_its_own_task(backend: Any) -> None:
    config = EnvironmentConfig(show_task=True, backend=backend)
    envs, plain = make_vector(config, 2), make_vector(EnvironmentConfig(), 2)
    try:
        for vector in (envs, plain):
            vector.set_tasks(TASKS)
        shown, hidden = (vector.reset(seed=[3, 4])[0] for vector in (envs, plain))
        assert envs.single_observation_space.shape == (4,)
        actions = np.array([[0.3, -0.1], [1.0, 0.2]])
        for _ in range(3):
            np.testing.assert_array_equal(shown[:, :2], hidden)
            np.testing.assert_array_equal(shown[:, 2:], [[0.1, -0.2], [0.3, 0.4]])
            (shown, paid, *_), (hidden, owed, *_) = envs.step(actions), plain.step(actions)
            np.testing.assert_array_equal(paid, owed)
    finally:
        envs.close()
        plain.close()


def test_tasks_that_a_vector_draws_or_takes_in_a_reset_are_shown() -> None:
    envs = make_vector(NAVIGATION, 2)
    observations, _ = envs.reset(seed=3)
    np.testing.assert_array_equal(observations[:, 2:], [task["goal"] for task in envs.unwrapped.tasks])  # type: ignore[attr-defined]
    observations, _ = envs.reset(options={"tasks": TASKS})
    np.testing.assert_array_equal(observations[:, 2:], [[0.1, -0.2], [0.3, 0.4]])
    assert copy.copy(envs).num_envs == 2
    envs.close()


def test_the_single_environment_shows_the_same() -> None:
    env = make_single(NAVIGATION)
    env.unwrapped.set_task(TASKS[1])  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=4)
    assert env.observation_space.contains(observation)
    np.testing.assert_array_equal(observation[2:], [0.3, 0.4])
    observation, *_ = env.step(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(observation[2:], [0.3, 0.4])
    env.close()


def test_a_shown_environment_passes_the_check() -> None:
    assert not [finding for finding in check_task_env(NAVIGATION) if finding.serious]


def test_numbers_stand_in_the_order_of_their_names() -> None:
    assert task_numbers({"b": [[1, 2], [3, 4]], "a": 5.0}).tolist() == [5.0, 1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="shows numbers, but the task's 'name' is 'reach'"):
        task_numbers({"name": "reach"})


def test_tasks_of_words_are_refused_in_one_line(third_party: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = EnvironmentConfig(f"{third_party}:Corridor-v0", {}, show_task=True)
    module = __import__(third_party)
    monkeypatch.setattr(module.Corridor, "sample_tasks", lambda self, count, rng: [{"side": "left"}] * count)
    for make in (lambda: make_single(config), lambda: make_vector(config, 2)):
        with pytest.raises(EnvironmentError, match="shows numbers, but"):
            make()


def test_the_spaces_of_many_numbers_hold_their_observations() -> None:
    env = make_single(EnvironmentConfig("envs:TabularMDP-v0", show_task=True))
    assert isinstance(env.observation_space, gym.spaces.Box)
    assert env.observation_space.shape == (10 + 10 * 5 * 10 + 10 * 5,)
    env.close()
