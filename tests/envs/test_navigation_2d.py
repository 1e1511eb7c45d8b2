"""2D navigation against its definition, written out by hand."""

import numpy as np
import pytest

from envs.navigation_2d import navigation_2d


@pytest.mark.parametrize("reward", ["distance", "squared_distance"])
def test_steps_follow_the_definition(reward: str) -> None:
    env = navigation_2d(reward=reward).single()
    goal = [0.3, -0.2]
    position, _ = env.reset(options={"task": {"goal": goal}})
    assert position.tolist() == [0.0, 0.0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.normal(0, 0.1, 2)
        after, value, terminated, truncated, _ = env.step(action)
        moved = [p + min(max(a, -0.1), 0.1) for p, a in zip(position, action, strict=True)]
        np.testing.assert_allclose(after, moved, rtol=0, atol=1e-15)
        squared = (moved[0] - goal[0]) ** 2 + (moved[1] - goal[1]) ** 2
        assert value == pytest.approx(-squared if reward == "squared_distance" else -(squared**0.5))
        assert not terminated
        assert not truncated
        position = after


def test_an_episode_ends_in_the_box_around_the_goal() -> None:
    env = navigation_2d().single()
    env.reset(options={"task": {"goal": [0.109, 0.0]}})
    assert not env.step(np.array([0.1, 0.02]))[2]  # |dx| = .009, |dy| = .02
    assert env.step(np.array([0.0, -0.015]))[2]  # |dx| = .009, |dy| = .005


def test_normalised_actions_are_mapped_to_the_step_range() -> None:
    env = navigation_2d(action_scale=1.0, max_step=0.1).single()
    env.reset(seed=0)
    assert env.step(np.array([0.5, -7.0]))[0] == pytest.approx([0.05, -0.1])


def test_goals_on_a_semicircle() -> None:
    env = navigation_2d(goals="semicircle", goal_range=2.0).single()
    goals = np.array([task["goal"] for task in env.sample_tasks(2000, np.random.default_rng(0))])
    np.testing.assert_allclose(np.hypot(*goals.T), 2.0)
    angles = np.arctan2(goals[:, 1], goals[:, 0])
    assert np.histogram(angles, bins=4, range=(0, np.pi))[0] == pytest.approx([500] * 4, abs=80)
    env.set_task({"goal": [2.0, 0.0]})
    env.set_task({"goal": [-1.414, 1.414]})  # rounded, as people type it


def test_a_step_that_would_touch_an_obstacle_is_not_taken() -> None:
    wall = {"obstacles": [[0.3, 0.0, 0.05], [0.0, -0.12, 0.04]], "max_step": 0.5, "action_scale": 0.5}
    env = navigation_2d(**wall).single()
    goal = {"goal": [0.5, 0.5]}
    for action, moves in (
        ([0.2, 0.0], True),  # ends before it
        ([0.26, 0.0], False),  # ends in it
        ([0.5, 0.0], False),  # would jump over it
        ([0.5, 0.06], False),  # passes at less than the radius: 0.3 * 0.06 / 0.504 = 0.036
        ([0.5, 0.1], True),  # at 0.3 * 0.1 / 0.51 = 0.059
        ([0.0, -0.5], False),
        ([0.0, 0.5], True),
        ([0.0, 0.0], True),
    ):
        env.reset(seed=0, options={"task": goal})
        after, reward, *_ = env.step(np.array(action))
        assert after.tolist() == (action if moves else [0.0, 0.0]), action
        assert reward == pytest.approx(-np.hypot(*(np.array(goal["goal"]) - after)))


def test_no_goal_lies_in_an_obstacle() -> None:
    env = navigation_2d(obstacles=[[0.2, 0.2, 0.15]]).single()
    goals = np.array([task["goal"] for task in env.sample_tasks(500, np.random.default_rng(0))])
    assert np.hypot(*(goals - 0.2).T).min() > 0.15
    with pytest.raises(ValueError, match="outside of all obstacles"):
        env.set_task({"goal": [0.2, 0.25]})
