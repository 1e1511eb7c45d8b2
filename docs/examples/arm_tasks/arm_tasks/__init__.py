"""An arm that raises its hand to a height which the task chooses."""

from pathlib import Path

import gymnasium as gym
import numpy as np

from envs.mujoco_tasks import MujocoTask, single, vector
from envs.ranges import Interval


def observe(states):
    return np.concatenate([np.cos(states.qpos), np.sin(states.qpos), states.qvel], axis=1)


def reward(before, controls, after, tasks):
    hand = 0.5 * np.cos(after.qpos[:, 0]) + 0.4 * np.cos(after.qpos.sum(1))
    return -np.abs(hand - tasks["height"]) - 1e-4 * np.square(controls).sum(1)


def terminated(after, tasks):
    return (np.abs(after.qvel) > 60).any(1)


XML = str(Path(__file__).parent / "arm.xml")
ARM = MujocoTask("Arm", XML, {"height": Interval(-0.8, 0.8)}, observe, reward, terminated, frame_skip=10, horizon=50)

gym.register(
    "Arm-v0",
    entry_point=lambda render_mode=None: single(ARM, render_mode),
    vector_entry_point=lambda num_envs, **more: vector(ARM, num_envs, **more),
)
