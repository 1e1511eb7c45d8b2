"""Half-cheetah velocity against Gymnasium's HalfCheetah-v5 with the warm start off on both sides."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from envs.half_cheetah import half_cheetah_vel, half_cheetah_vel_vector


def _gymnasium_cheetah(frame_skip: int) -> HalfCheetahEnv:
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        env = HalfCheetahEnv(frame_skip=frame_skip)
    finally:
        mujoco.set_mju_user_warning(None)
    env.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    return env


@pytest.mark.parametrize("frame_skip", [1, 5])
def test_states_agree_bitwise_with_gymnasium_over_200_random_steps(frame_skip: int) -> None:
    theirs = _gymnasium_cheetah(frame_skip)
    ours = half_cheetah_vel(horizon=200, frame_skip=frame_skip)
    many = half_cheetah_vel_vector(2, horizon=200, frame_skip=frame_skip)
    goal, rng = 1.3, np.random.default_rng(0)
    expected, _ = theirs.reset(seed=42)
    observation, _ = ours.reset(seed=42, options={"task": {"velocity": goal}})
    observations, _ = many.reset(seed=[7, 42], options={"tasks": [{"velocity": 0.4}, {"velocity": goal}]})
    assert np.array_equal(observation, expected)
    assert np.array_equal(observations[1], expected)
    for _ in range(200):
        action = rng.uniform(-1, 1, 6)
        expected, _, _, _, info = theirs.step(action)
        observation, reward, _, _, _ = ours.step(action)
        observations, rewards, _, _, _ = many.step(np.stack([rng.uniform(-1, 1, 6), action]))
        assert np.array_equal(observation, expected)
        assert np.array_equal(observations[1], expected)
        # The reward from Gymnasium's own velocity.
        own = -abs(info["x_velocity"] - goal) - 0.05 * float(np.sum(np.square(action)))
        assert reward == pytest.approx(own, rel=1e-12, abs=1e-12)
        assert rewards[1] == reward


def test_the_action_scale_divides_and_the_cost_counts_what_the_motors_get() -> None:
    plain, scaled = half_cheetah_vel(), half_cheetah_vel(action_scale=10.0)
    assert scaled.action_space.high.tolist() == [10.0] * 6
    action = np.linspace(-1, 1, 6)
    results = []
    for env, factor in ((plain, 1), (scaled, 10)):
        env.reset(seed=0, options={"task": {"velocity": 1.0}})
        results.append(env.step(action * factor)[:2])
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12, atol=1e-12)
    assert results[0][1] == pytest.approx(results[1][1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"velocity_range": (2.0, 0.0)}, "low <= high"),
        ({"velocity_range": (0.0, np.inf)}, "finite"),
        ({"control_cost": -0.1}, "control_cost"),
        ({"frame_skip": 0}, "frame_skip"),
        ({"horizon": 0}, "horizon"),
        ({"action_scale": 0.0}, "action_scale"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        half_cheetah_vel(**arguments)
    with pytest.raises(ValueError, match=message):
        half_cheetah_vel_vector(1, **arguments)


def test_all_numbers_are_constructor_arguments() -> None:
    env = gym.make("envs:HalfCheetahVel-v0", velocity_range=(0.5, 3.0), control_cost=0.0, frame_skip=2, horizon=7)
    env.reset(seed=0, options={"task": {"velocity": 3.0}})
    _, reward, _, _, _ = env.step(np.ones(6))
    inner = env.unwrapped
    moved = inner._states[-1][1] - inner._states[-2][1]
    assert reward == pytest.approx(-abs(moved / 0.02 - 3.0))
    velocities = [task["velocity"] for task in inner.sample_tasks(2000, np.random.default_rng(0))]
    assert min(velocities) >= 0.5
    assert max(velocities) <= 3.0
    assert np.mean(velocities) == pytest.approx(1.75, abs=0.05)
