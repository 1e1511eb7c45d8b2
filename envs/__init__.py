"""Task environments, registered with Gymnasium: `gym.make("envs:Navigation2D-v0")`, `gym.make_vec(...)`."""

import gymnasium as gym

__all__: list[str] = []

_MODULES = {
    "Navigation2D": "navigation_2d:navigation_2d",
    "HalfCheetahVel": "half_cheetah:half_cheetah_vel",
    "HalfCheetahDir": "half_cheetah:half_cheetah_dir",
    "Walker2dRandParams": "random_parameters:walker_2d_rand_params",
    "HopperRandParams": "random_parameters:hopper_rand_params",
    "Bandit": "bandit:bandit",
    "TabularMDP": "tabular_mdp:tabular_mdp",
    "AntVel": "ant:ant_vel",
    "AntDir": "ant:ant_dir",
    "AntGoal": "ant:ant_goal",
}

for _name, _maker in _MODULES.items():
    gym.register(f"{_name}-v0", entry_point=f"envs.{_maker}", vector_entry_point=f"envs.{_maker}_vector")

for _name, _maker in {"MetaWorldML1": "ml1", "MetaWorldML10": "ml10"}.items():
    gym.register(f"{_name}-v0", entry_point=f"envs.meta_world:{_maker}")
