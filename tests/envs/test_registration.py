"""Registration: one call gives a single and a vector environment with the definition's arguments, checked alike."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs.array_tasks import ArrayTask
from envs.bandit import bandit
from envs.registration import register
from maml_rl.rl.environments.task_env import TaskEnv, VectorTaskEnv


def two_arms(horizon: int = 6) -> ArrayTask:
    return bandit(2, horizon)


@pytest.fixture(params=[two_arms, f"{__name__}:two_arms"], ids=["function", "name"])
def registered(request: pytest.FixtureRequest) -> Iterator[str]:
    register("TwoArms-v0", request.param)
    yield "TwoArms-v0"
    gym.registry.pop("TwoArms-v0")


def test_one_call_registers_both_versions(registered: str) -> None:
    env, envs = gym.make(registered, horizon=3), gym.make_vec(registered, num_envs=4, horizon=3)
    assert isinstance(env.unwrapped, TaskEnv)
    assert isinstance(envs, VectorTaskEnv)
    assert (env.unwrapped.horizon, envs.horizon, envs.num_envs) == (3, 3, 4)
    assert env.action_space == envs.single_action_space == gym.spaces.Discrete(2)
    envs.reset(seed=0)
    envs.step(np.zeros(4, int))


def test_unknown_arguments_are_refused_with_the_known_ones(registered: str) -> None:
    for make in (gym.make, gym.make_vec):
        with pytest.raises(TypeError, match="its constructor has no argument 'arms'; it has horizon"):
            make(registered, arms=3)
    with pytest.raises(TypeError, match=r"'speed'; it has velocity_range, .*, horizon, num_threads"):
        gym.make_vec("envs:HalfCheetahVel-v0", speed=1.0, num_threads=1)


def test_a_registration_by_name_can_be_stored() -> None:
    spec = gym.spec("AntVel-v0")
    assert gym.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_an_unknown_render_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="`render_mode` must be None or 'rgb_array', got 'human'"):
        two_arms().single("human")


WALLS = [[0.0, 2.0, 1.9], [2.0, 0.0, 1.9], [-2.0, 0.0, 1.9]]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Navigation2D", {"goal_range": 0.0}, "goal_range"),
        ("Navigation2D", {"horizon": 0}, "horizon"),
        ("Navigation2D", {"max_step": -1.0}, "max_step"),
        ("Navigation2D", {"action_scale": 0}, "action_scale"),
        ("Navigation2D", {"goal_radius": 0}, "goal_radius"),
        ("Navigation2D", {"reward": "x"}, "`reward` must be 'distance' or 'squared_distance', got 'x'"),
        ("Navigation2D", {"goals": "circle"}, "goals"),
        ("Navigation2D", {"obstacles": [[0.1, 0.1]]}, "must be discs"),
        ("Navigation2D", {"obstacles": [[0.1, 0.1, -0.1]]}, "must be discs"),
        ("Navigation2D", {"obstacles": 3}, "must be discs"),
        ("Navigation2D", {"obstacles": [["a", 0, 1]]}, "must be discs"),
        ("Navigation2D", {"obstacles": [[0.1, 0.0, 0.2]]}, "leave the start at the origin free"),
        ("Navigation2D", {"goals": "semicircle", "goal_range": 1.0, "obstacles": WALLS}, "leave no place"),
        ("HalfCheetahVel", {"velocity_range": (2.0, 0.0)}, "low <= high"),
        ("HalfCheetahVel", {"velocity_range": (0.0, np.inf)}, "finite"),
        ("HalfCheetahVel", {"control_cost": -0.1}, "control_cost"),
        ("HalfCheetahVel", {"frame_skip": 0}, "frame_skip"),
        ("HalfCheetahVel", {"horizon": 0}, "horizon"),
        ("HalfCheetahVel", {"action_scale": 0.0}, "action_scale"),
        ("HalfCheetahDir", {"control_cost": -1.0}, "control_cost"),
        ("AntVel", {"velocity_range": (1.0,)}, "velocity_range"),
        ("AntVel", {"contact_cost": float("nan")}, "contact_cost"),
        ("AntDir", {"directions": "left"}, "directions"),
        ("AntDir", {"terminates": "false"}, "`terminates` must be true or false, got 'false'"),
        ("AntGoal", {"goals": "line"}, "goals"),
        ("AntGoal", {"goal_range": 0.0}, "goal_range"),
        ("Walker2dRandParams", {"log_scale": 0.0}, "log_scale"),
        ("HopperRandParams", {"frame_skip": 1.5}, "frame_skip"),
        ("Bandit", {"arms": 0}, "arms"),
        ("TabularMDP", {"states": 0}, "states"),
        ("TabularMDP", {"actions": 1.5}, "actions"),
        ("NoisyChain", {"states": 0}, "states"),
        ("NoisyChain", {"horizon": 0}, "horizon"),
        ("NoisyChain", {"noise": -1.0}, "noise"),
        ("NoisyChain", {"signal": float("nan")}, "`signal` must be a finite number or two bounds"),
        ("NoisyChain", {"signal": [0.2]}, "`signal` must be two numbers"),
        ("NoisyChain", {"signal": [0.2, 0.1]}, "low <= high"),
        ("TwoColours", {"size": 1}, "`size` must be at least 2"),
        ("TwoColours", {"step_cost": -0.1}, "step_cost"),
        ("TwoColours", {"horizon": 0}, "horizon"),
        ("TwoColours", {"swap_every": 0}, "swap_every"),
        ("TwoColours", {"swap_every": (5, 3)}, "low <= high"),
        ("TwoColours", {"swap_every": (0, 3)}, "at least 1"),
        ("TwoColours", {"swap_every": (1.5, 3)}, "whole numbers"),
    ],
)
def test_values_that_make_no_sense_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    for make in (gym.make, gym.make_vec):
        with pytest.raises(ValueError, match=message):
            make(f"envs:{name}-v0", **arguments)
