"""An arm that raises its hand to a height which the task chooses."""

from pathlib import Path

import numpy as np

from envs.mujoco_tasks import MujocoTask
from envs.parameter_ranges import Interval
from envs.registration import register

XML = str(Path(__file__).parent / "arm.xml")


def observe(states):
    return np.concatenate([np.cos(states.qpos), np.sin(states.qpos), states.qvel], axis=1)


def reward(before, controls, after, tasks):
    hand = 0.5 * np.cos(after.qpos[:, 0]) + 0.4 * np.cos(after.qpos.sum(1))
    return -np.abs(hand - tasks["height"]) - 1e-4 * np.square(controls).sum(1)


def terminated(after, tasks):
    return (np.abs(after.qvel) > 60).any(1)


def arm(horizon=50):
    heights = {"height": Interval(-0.8, 0.8)}
    return MujocoTask("Arm", XML, heights, observe, reward, terminated, frame_skip=10, horizon=horizon)


register("Arm-v0", arm)
