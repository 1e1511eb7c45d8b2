"""What robots that run have in common: how their episodes start, and how fast they are."""

from typing import TYPE_CHECKING

import numpy as np

from envs.mujoco_tasks import States
from envs.task_distribution import Array

if TYPE_CHECKING:
    import mujoco

__all__ = ["forward_velocity", "noisy_start"]


def noisy_start(model: "mujoco.MjModel", rng: np.random.Generator) -> tuple[Array, Array]:
    """HalfCheetah-v5's and Ant-v5's: positions of the model file plus U[-0.1, 0.1], velocities 0.1 N(0, 1)."""
    positions = model.qpos0 + rng.uniform(low=-0.1, high=0.1, size=model.nq)
    velocities = 0.1 * rng.standard_normal(model.nv)
    return positions, velocities


def forward_velocity(before: States, after: States, seconds: float) -> Array:
    """Mean velocity along the first axis over a step of that many seconds, [n], in m/s."""
    velocity: Array = (after.qpos[:, 0] - before.qpos[:, 0]) / seconds
    return velocity
