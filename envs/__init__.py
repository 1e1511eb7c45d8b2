"""Task environments, registered with Gymnasium: `gym.make("envs:Navigation2D-v0")`, `gym.make_vec(...)`."""

import gymnasium as gym

__all__: list[str] = []

gym.register(
    "Navigation2D-v0",
    entry_point="envs.navigation_2d:navigation_2d",
    vector_entry_point="envs.navigation_2d:navigation_2d_vector",
)
gym.register(
    "HalfCheetahVel-v0",
    entry_point="envs.half_cheetah:half_cheetah_vel",
    vector_entry_point="envs.half_cheetah:half_cheetah_vel_vector",
)
