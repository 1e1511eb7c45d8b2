"""Bandits and tabular Markov decision processes: chance, laws of their dynamics, optima against brute force."""

import itertools
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from envs.counter_based_random import draw_key, normal, uniform
from envs.gittins import gittins_index, gittins_returns
from envs.tabular_mdp import optimal_return, random_return


def test_chance_is_uniform_normal_and_independent() -> None:
    keys = np.array([draw_key(np.random.default_rng(i)) for i in range(200)])
    grid, steps = np.meshgrid(keys, np.arange(100.0), indexing="ij")
    first, second = (uniform(grid.ravel(), steps.ravel(), stream) for stream in (0, 1))
    assert stats.kstest(first, "uniform").pvalue > 0.01
    assert stats.kstest(normal(grid.ravel(), steps.ravel(), 2), "norm").pvalue > 0.01
    for other in (
        second,
        np.roll(first.reshape(200, 100), 1, 1).ravel(),
        np.roll(first.reshape(200, 100), 1, 0).ravel(),
    ):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.03
    assert len(np.unique(first)) == len(first)
    # Keys one apart, as bad keys can be, are as good as others.
    near = uniform(np.arange(20_000.0), np.zeros(20_000))
    assert stats.kstest(near, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(near[1:], near[:-1])[0, 1]) < 0.03


def _returns(name: str, task: dict[str, Any], choose: Any, episodes: int, **arguments: Any) -> np.ndarray:
    envs = gym.make_vec(f"envs:{name}-v0", num_envs=episodes, **arguments)
    observations, _ = envs.reset(seed=3, options={"tasks": [task] * episodes})
    total = np.zeros(episodes)
    for _ in range(envs.horizon):
        observations, rewards, *_ = envs.step(choose(observations))
        total += rewards
    return total


def test_arms_pay_with_their_chances() -> None:
    task = {"chances": [0.1, 0.7, 0.4]}
    for arm, chance in enumerate(task["chances"]):
        rewards = _returns("Bandit", task, lambda seen, arm=arm: np.full(len(seen), arm), 3000, arms=3, horizon=10)
        assert set(np.unique(rewards)) <= set(range(11))
        assert rewards.mean() / 10 == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 30_000))
        assert rewards.var() == pytest.approx(10 * chance * (1 - chance), rel=0.15)  # pulls are independent


def test_the_references_of_a_bandit() -> None:
    env = gym.make("envs:Bandit-v0", arms=3, horizon=7).unwrapped
    assert env.reference_returns({"chances": [0.1, 0.7, 0.4]}, 7) == pytest.approx({"optimal": 4.9, "random": 2.8})


def test_moves_and_rewards_have_the_chances_and_means_of_the_task() -> None:
    envs = gym.make_vec("envs:TabularMDP-v0", num_envs=20_000, states=3, actions=2, horizon=2)
    task = envs.sample_tasks(1, np.random.default_rng(0))[0]
    envs.reset(seed=0, options={"tasks": [task] * envs.num_envs})
    observations, rewards, *_ = envs.step(np.ones(envs.num_envs, int))
    shares = observations.mean(0)
    np.testing.assert_allclose(shares, task["transitions"][0][1], atol=0.015)
    assert rewards.mean() == pytest.approx(task["rewards"][0][1], abs=0.03)
    assert rewards.std() == pytest.approx(1.0, abs=0.03)
    # The next move does not depend on the last one's chance.
    places = observations.argmax(1)
    after, *_ = envs.step(np.zeros(envs.num_envs, int))
    for place in range(3):
        chosen = after[places == place].mean(0)
        np.testing.assert_allclose(chosen, task["transitions"][place][0], atol=4 / np.sqrt((places == place).sum()))


def _small(seed: int, states: int = 2, actions: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "transitions": rng.dirichlet(np.ones(states), (states, actions)).tolist(),
        "rewards": rng.normal(1, 1, (states, actions)).tolist(),
    }


def _value(task: dict[str, Any], policy: Any, steps: int) -> float:
    """The expected sum of rewards of ``policy(t, s)`` chances, by enumerating all paths of states and actions."""
    transitions, rewards = np.array(task["transitions"]), np.array(task["rewards"])
    total = 0.0
    states, actions = rewards.shape
    for path in itertools.product(range(states), repeat=steps):
        for chosen in itertools.product(range(actions), repeat=steps):
            chance, place, earned = 1.0, 0, 0.0
            for t, (action, following) in enumerate(zip(chosen, path, strict=True)):
                chance *= policy(t, place)[action] * transitions[place, action, following]
                earned += rewards[place, action]
                place = following
            total += chance * earned
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_optimum_is_the_best_of_all_policies(seed: int) -> None:
    task, steps = _small(seed), 3
    best = -np.inf
    for choices in itertools.product(range(2), repeat=2 * steps):
        table = np.eye(2)[np.array(choices).reshape(steps, 2)]
        best = max(best, _value(task, lambda t, s, table=table: table[t, s], steps))
    assert optimal_return(task, steps) == pytest.approx(best, rel=1e-12)
    assert random_return(task, steps) == pytest.approx(_value(task, lambda t, s: [0.5, 0.5], steps), rel=1e-12)


def test_returns_of_random_actions_have_the_reference_for_their_mean() -> None:
    envs = gym.make_vec("envs:TabularMDP-v0", num_envs=1)
    task = envs.sample_tasks(1, np.random.default_rng(5))[0]
    rng = np.random.default_rng(0)
    returns = _returns("TabularMDP", task, lambda seen: rng.integers(5, size=len(seen)), 4000)
    expected = envs.reference_returns(task, 10)
    assert returns.mean() == pytest.approx(expected["random"], abs=4 * returns.std() / np.sqrt(4000))
    assert expected["optimal"] > expected["random"]


@pytest.mark.parametrize("name", ["Bandit", "TabularMDP"])
def test_actions_that_there_are_not_are_refused(name: str) -> None:
    env, envs = gym.make(f"envs:{name}-v0").unwrapped, gym.make_vec(f"envs:{name}-v0", num_envs=2)
    env.reset(seed=0)
    envs.reset(seed=0)
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=f"must be between 0 and 4, got {wrong}"):
            env.step(wrong)
        with pytest.raises(ValueError, match=f"must be between 0 and 4, got {wrong}"):
            envs.step(np.array([0, wrong]))
    with pytest.raises(ValueError, match="whole numbers"):
        env.step(0.5)
    with pytest.raises(ValueError, match="whole numbers"):
        envs.step(np.zeros(3, int))


@pytest.mark.parametrize(("wins", "losses", "expected"), [(1, 1, 0.7029), (2, 1, 0.8001), (1, 2, 0.5001)])
def test_gittins_indices_are_the_published_ones(wins: int, losses: int, expected: float) -> None:
    """Gittins (1989), table for a discount of 0.9."""
    assert gittins_index(wins, losses, 0.9) == pytest.approx(expected, abs=1e-4)


def test_the_index_policy_is_the_best_of_all() -> None:
    """Two arms, by dynamic programming over everything that can be known; the tail beyond the horizon is bounded."""
    discount, horizon = 0.5, 14

    @cache
    def value(state: tuple[int, ...], left: int, by_index: bool) -> float:
        if not left:
            return 0.0
        worth = []
        for arm in (0, 1):
            a, b = state[2 * arm : 2 * arm + 2]
            after = [list(state), list(state)]
            after[0][2 * arm] += 1
            after[1][2 * arm + 1] += 1
            won, lost = (value(tuple(each), left - 1, by_index) for each in after)
            worth.append(a / (a + b) * (1 + discount * won) + b / (a + b) * discount * lost)
        if by_index:
            first, second = gittins_index(*state[:2], discount), gittins_index(*state[2:], discount)
            return worth[0] if first >= second else worth[1]
        return max(worth)

    for state in ((1, 1, 1, 1), (2, 1, 1, 1), (3, 2, 1, 1), (5, 4, 1, 1)):
        assert value(state, horizon, True) == pytest.approx(value(state, horizon, False), abs=2 * discount**horizon)


def test_the_index_policy_beats_chance_and_not_the_optimum() -> None:
    chances = np.random.default_rng(0).uniform(size=(200, 5))
    rewards = gittins_returns(chances, 10, np.random.default_rng(1)).sum(1)
    assert set(np.unique(rewards)) <= set(range(11))
    assert 10 * chances.mean() + 0.5 < rewards.mean() < 10 * chances.max(1).mean()
