"""Task environments, registered with Gymnasium: `gym.make("envs:Navigation2D-v0")`, `gym.make_vec(...)`."""

import gymnasium as gym

from envs.registration import register

__all__: list[str] = []

register("Navigation2D-v0", "envs.navigation_2d:navigation_2d")
register("HalfCheetahVel-v0", "envs.half_cheetah:half_cheetah_vel")
register("HalfCheetahDir-v0", "envs.half_cheetah:half_cheetah_dir")
register("AntVel-v0", "envs.ant:ant_vel")
register("AntDir-v0", "envs.ant:ant_dir")
register("AntGoal-v0", "envs.ant:ant_goal")
register("Walker2dRandParams-v0", "envs.random_parameters:walker_2d_rand_params")
register("HopperRandParams-v0", "envs.random_parameters:hopper_rand_params")
register("Bandit-v0", "envs.bandit:bandit")
register("TabularMDP-v0", "envs.tabular_mdp:tabular_mdp")
register("NoisyChain-v0", "envs.noisy_chain:noisy_chain")
register("TwoColours-v0", "envs.two_colours:two_colours")

gym.register("MetaWorldML1-v0", entry_point="envs.meta_world:MetaWorldTasks", kwargs={"benchmark": "ML1"})
gym.register("MetaWorldML10-v0", entry_point="envs.meta_world:MetaWorldTasks", kwargs={"benchmark": "ML10"})
