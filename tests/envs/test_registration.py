"""Registration: one call gives a single and a vector environment, whose arguments are those of the definition."""

from collections.abc import Iterator

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
