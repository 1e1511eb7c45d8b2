"""2D navigation against its definition, written out by hand."""

import numpy as np
import pytest

from envs.navigation_2d import navigation_2d


@pytest.mark.parametrize("reward", ["distance", "squared_distance"])
def test_steps_follow_the_definition(reward: str) -> None:
    env = navigation_2d(reward=reward)
    goal = [0.3, -0.2]
    position, _ = env.reset(options={"task": {"goal": goal}})
    assert position.tolist() == [0.0, 0.0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.normal(0, 0.1, 2)
        after, value, ended, cut, _ = env.step(action)
        moved = [p + min(max(a, -0.1), 0.1) for p, a in zip(position, action, strict=True)]
        np.testing.assert_allclose(after, moved, rtol=0, atol=1e-15)
        squared = (moved[0] - goal[0]) ** 2 + (moved[1] - goal[1]) ** 2
        assert value == pytest.approx(-squared if reward == "squared_distance" else -(squared**0.5))
        assert not ended
        assert not cut
        position = after


def test_an_episode_ends_in_the_box_around_the_goal() -> None:
    env = navigation_2d()
    env.reset(options={"task": {"goal": [0.109, 0.0]}})
    assert not env.step(np.array([0.1, 0.02]))[2]  # |dx| = .009, |dy| = .02
    assert env.step(np.array([0.0, -0.015]))[2]  # |dx| = .009, |dy| = .005


def test_normalised_actions_are_mapped_to_the_step_range() -> None:
    env = navigation_2d(action_scale=1.0, max_step=0.1)
    env.reset(seed=0)
    assert env.step(np.array([0.5, -7.0]))[0] == pytest.approx([0.05, -0.1])


@pytest.mark.parametrize(
    "arguments",
    [{"goal_range": 0.0}, {"horizon": 0}, {"max_step": -1.0}, {"action_scale": 0}, {"goal_radius": 0}, {"reward": "x"},
     {"render_mode": "human"}],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        navigation_2d(**arguments)
