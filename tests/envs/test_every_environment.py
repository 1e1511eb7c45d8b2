"""A table that every environment joins: Gymnasium's checker, vector against single, refusals, drawing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from envs.mujoco_tasks import MujocoTask
from envs.parameter_ranges import Interval
from maml_rl.rl.environments.task_env import TaskEnv, TaskError, VectorTaskEnv


class Case(NamedTuple):
    id: str
    arguments: dict[str, Any]
    wrong_tasks: list[Any]


CASES = [
    Case(
        "envs:Navigation2D-v0",
        {"horizon": 30, "goal_radius": 0.1},
        [{}, {"goal": 0.1}, {"goal": [0.1]}, {"goal": [0.6, 0.0]}, {"goal": [np.nan, 0.0]}, {"goal": "left"},
         {"gaol": [0.1, 0.1]}, {"goal": [0.1, 0.1], "colour": 3}, 7],
    ),
    Case(
        "envs:HalfCheetahVel-v0",
        {"horizon": 25},
        [{}, {"velocity": -0.1}, {"velocity": 2.1}, {"velocity": [1.0]}, {"velocity": None}, {"speed": 1.0}, None],
    ),
    Case(
        "envs:Navigation2D-v0",
        {"horizon": 30, "goal_radius": 0.1, "goals": "semicircle", "goal_range": 1.0, "obstacles": [[0.1, 0.2, 0.1]]},
        [{"goal": [0.0, 0.5]}, {"goal": [0.0, -1.0]}, {"goal": [0.5, 0.5]}],
    ),
    Case("envs:HalfCheetahDir-v0", {"horizon": 25}, [{}, {"direction": 0.5}, {"direction": "x"}, {"direction": [1.0]}]),
    Case("envs:AntVel-v0", {"horizon": 25}, [{"velocity": -0.1}, {"velocity": 3.1}, {"speed": 1.0}]),
    Case("envs:AntDir-v0", {"horizon": 25}, [{"angle": 1.0}, {"angle": [0.0]}]),
    Case("envs:AntGoal-v0", {"horizon": 25, "goals": "disc"}, [{"goal": [3.0, 3.0]}, {"goal": 1.0}]),
    Case("envs:Walker2dRandParams-v0", {"horizon": 25}, [{}, {"mass": [0.0] * 7}, {"mass": [0.0] * 6}]),
    Case(
        "envs:HopperRandParams-v0",
        {"horizon": 25},
        [{"mass": [3.1] * 4, "inertia": [0.0] * 4, "damping": [0.0] * 3, "friction": [0.0] * 5},
         {"mass": [0.0] * 3, "inertia": [0.0] * 4, "damping": [0.0] * 3, "friction": [0.0] * 5}],
    ),
    Case("envs:Bandit-v0", {"horizon": 25}, [{}, {"chances": [0.5] * 4}, {"chances": [1.5] * 5}, {"chances": 1}]),
    Case(
        "envs:TabularMDP-v0",
        {"states": 2, "actions": 2, "horizon": 25},
        [{}, {"transitions": [[[1.0, 0.0]] * 2] * 2},
         {"transitions": [[[1.0, 0.5]] * 2] * 2, "rewards": [[0.0] * 2] * 2},
         {"transitions": [[[1.5, -0.5]] * 2] * 2, "rewards": [[0.0] * 2] * 2},
         {"transitions": [[[1.0, 0.0]] * 2] * 2, "rewards": [[0.0, np.inf]] * 2}],
    ),
    Case("envs:NoisyChain-v0", {"signal": (0.1, 0.9)}, [{}, {"signal": 0.0}, {"signal": 0.5, "noise": 1}]),
    Case("envs:TwoColours-v0", {"horizon": 25}, [{}, {"blue_reward": 0.5}, {"blue_reward": 1, "swap_every": 9}]),
    Case(
        "envs:TwoColours-v0",
        {"horizon": 25, "size": 3, "swap_every": (4, 9)},
        [{"blue_reward": 1.0}, {"blue_reward": 1.0, "swap_every": 3}, {"blue_reward": 1.0, "swap_every": 4.5}],
    ),
]  # fmt: skip
each = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}-{len(case.arguments)}")
DISCRETE = ("Bandit-v0", "TabularMDP-v0", "NoisyChain-v0", "TwoColours-v0")
continuous = pytest.mark.parametrize(
    "case", [case for case in CASES if not case.id.endswith(DISCRETE)], ids=lambda case: case.id
)


def _actions(envs: Any, rng: np.random.Generator) -> Any:
    """Actions for all sub-environments, some of them beyond the bounds of a Box."""
    space = envs.single_action_space
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.n, size=envs.num_envs)
    return rng.normal(size=envs.action_space.shape) * space.high


def _rest(space: Any) -> Any:
    """An action that is in the space."""
    return np.int64(0) if isinstance(space, gym.spaces.Discrete) else space.high * 0


@each
@pytest.mark.filterwarnings("error")
def test_gymnasiums_checker_has_nothing_to_say(case: Case) -> None:
    env = gym.make(case.id, **case.arguments)
    check_env(env.unwrapped, skip_render_check="Navigation" not in case.id)
    env.close()


@each
def test_both_versions_are_task_distributions(case: Case) -> None:
    env, envs = gym.make(case.id, **case.arguments), gym.make_vec(case.id, num_envs=3, **case.arguments)
    assert isinstance(env.unwrapped, TaskEnv)
    assert isinstance(envs, VectorTaskEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert envs.single_observation_space == env.observation_space
    assert envs.single_action_space == env.action_space
    for source in (env.unwrapped, envs):
        first, second = (source.sample_tasks(5, np.random.default_rng(3)) for _ in range(2))
        assert first == second
        assert len({str(task) for task in first}) > 1
        for task in first:
            env.unwrapped.set_task(task)
    envs.close()


@each
def test_vector_and_single_agree_bitwise(case: Case) -> None:
    count = 4
    envs = gym.make_vec(case.id, num_envs=count, **case.arguments)
    singles = [gym.make(case.id, **case.arguments) for _ in range(count)]
    rng = np.random.default_rng(0)
    tasks = envs.sample_tasks(count, rng)
    observations, _ = envs.reset(seed=[5, 9, 2, 5], options={"tasks": tasks})
    for index, env in enumerate(singles):
        observation, _ = env.reset(seed=[5, 9, 2, 5][index], options={"task": tasks[index]})
        assert np.array_equal(observation, observations[index])
    episodes = 0
    for _ in range(60):
        actions = _actions(envs, rng)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        assert envs.observation_space.contains(observations)
        for index, env in enumerate(singles):
            observation, reward, *ends, _ = env.step(actions[index])
            assert np.array_equal(observation, observations[index])
            assert reward == rewards[index]
            assert ends == [terminated[index], truncated[index]]
        done = terminated | truncated
        episodes += int(done.sum())
        if done.any():
            before = observations.copy()
            observations, _ = envs.reset(options={"reset_mask": done})
            assert np.array_equal(observations[~done], before[~done])
            for index in np.flatnonzero(done):
                observation, _ = singles[index].reset()
                assert np.array_equal(observation, observations[index])
    assert episodes >= count
    envs.close()


@each
def test_returned_arrays_are_not_changed_by_later_steps(case: Case) -> None:
    envs = gym.make_vec(case.id, num_envs=2, **case.arguments)
    first, _ = envs.reset(seed=0)
    kept = first.copy()
    second, *_ = envs.step(envs.action_space.sample() * 0)
    kept_second = second.copy()
    envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert np.array_equal(first, kept)
    assert np.array_equal(second, kept_second)


@continuous
def test_out_of_range_actions_are_clipped_and_invalid_ones_refused(case: Case) -> None:
    env, envs = gym.make(case.id, **case.arguments).unwrapped, gym.make_vec(case.id, num_envs=2, **case.arguments)
    high = env.action_space.high
    results = []
    for action in (high, 3 * high):
        env.reset(seed=0, options={"task": env.sample_tasks(1, np.random.default_rng(0))[0]})
        results.append(env.step(action)[:2])
    assert np.array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="must be finite numbers, got nan"):
        env.step(high * np.nan)
    with pytest.raises(ValueError, match="must be finite numbers, got inf"):
        envs.step(np.stack([high, high * np.inf]))
    with pytest.raises(ValueError, match=r"must be \(\d,\), got"):
        env.step(high[:1])
    with pytest.raises(ValueError, match=r"must be \(2, \d\), got"):
        envs.step(high)


@each
def test_wrong_tasks_are_refused_by_both(case: Case) -> None:
    env, envs = gym.make(case.id, **case.arguments).unwrapped, gym.make_vec(case.id, num_envs=2, **case.arguments)
    good = env.sample_tasks(1, np.random.default_rng(0))[0]
    for wrong in case.wrong_tasks:
        with pytest.raises(TaskError):
            env.set_task(wrong)
        with pytest.raises(TaskError):
            envs.set_tasks([good, wrong])
    with pytest.raises(ValueError, match="must have 2 entries"):
        envs.set_tasks([good])


def _require_reset(env: Any, envs: Any, action: Any) -> None:
    with pytest.raises(gym.error.ResetNeeded):
        env.step(action)
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.stack([action, action]))


@each
def test_a_task_change_always_needs_a_reset(case: Case) -> None:
    env, envs = gym.make(case.id, **case.arguments).unwrapped, gym.make_vec(case.id, num_envs=2, **case.arguments)
    action = _rest(env.action_space)
    _require_reset(env, envs, action)
    env.reset(seed=0)
    envs.reset(seed=0)
    tasks = env.sample_tasks(2, np.random.default_rng(0))
    env.set_task(tasks[0])
    envs.set_tasks(tasks)
    _require_reset(env, envs, action)


@each
def test_episodes_end_at_the_horizon_and_then_need_a_reset(case: Case) -> None:
    short = {**case.arguments, "horizon": 3}
    env, envs = gym.make(case.id, **short).unwrapped, gym.make_vec(case.id, num_envs=2, max_episode_steps=2, **short)
    env.reset(seed=0)
    envs.reset(seed=0)
    action = _rest(env.action_space)
    assert [env.step(action)[3] for _ in range(3)] == [False, False, True]
    assert [envs.step(np.stack([action, action]))[3].tolist() for _ in range(2)] == [[False] * 2, [True] * 2]
    _require_reset(env, envs, action)


@each
def test_wrong_masks_and_seeds_are_refused(case: Case) -> None:
    envs = gym.make_vec(case.id, num_envs=2, **case.arguments)
    for mask in (np.array([True]), np.array([1, 0])):
        with pytest.raises(ValueError, match="reset_mask"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="seed"):
        envs.reset(seed=[1])
    with pytest.raises(ValueError, match="num_envs"):
        gym.make_vec(case.id, num_envs=0, **case.arguments)


@each
def test_pictures_show_the_task(case: Case) -> None:
    env = gym.make(case.id, render_mode="rgb_array", **case.arguments)
    pictures = []
    first, *others = env.unwrapped.sample_tasks(20, np.random.default_rng(0))
    for task in (first, next(task for task in others if task != first)):
        env.reset(seed=0, options={"task": task})
        env.action_space.seed(0)
        env.step(env.action_space.sample())
        pictures.append(env.render())
    assert (pictures[0].dtype, pictures[0].ndim) == (np.uint8, 3)
    assert pictures[0].std() > 5  # not blank
    assert not np.array_equal(*pictures)
    env.close()


@each
def test_users_see_no_warnings_and_find_no_log(case: Case, tmp_path: Path) -> None:
    code = (
        "import gymnasium as gym\n"
        f"envs = gym.make_vec({case.id!r}, num_envs=2); envs.reset(seed=0); envs.step(envs.action_space.sample())\n"
        f"env = gym.make({case.id!r}); env.reset(seed=0); env.step(env.action_space.sample())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0
    assert result.stdout + result.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["HalfCheetahDir", "AntVel", "Walker2dRandParams", "HopperRandParams"])
def test_the_camera_follows_the_robot(name: str) -> None:
    env = gym.make(f"envs:{name}-v0", render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    pictures = []
    for forward in (0.0, 12.0):
        env._states[-1][1] = forward
        pictures.append(env.render()[: 360 - 26].astype(float))
    body = pictures[0][100:300, 140:340]
    assert np.abs(body - pictures[1][100:300, 140:340]).mean() < 0.5 * np.abs(body - np.roll(body, 60, 1)).mean()
    env.close()


def test_a_model_without_a_camera_is_followed_too(tmp_path: Path) -> None:
    model = tmp_path / "ball.xml"
    model.write_text(
        "<mujoco><worldbody><body><joint name='up' type='slide' axis='0 0 1'/><geom size='0.5' rgba='1 0 0 1'/></body>"
        "</worldbody><actuator><motor joint='up'/></actuator></mujoco>"
    )
    task = MujocoTask(
        *("Ball", str(model), {"height": Interval(0.0, 1.0)}),
        lambda states: states.qpos,
        lambda before, controls, after, tasks: np.zeros(len(controls)),
    )
    (env := task.single("rgb_array")).reset(seed=0)
    for height in (0.0, 30.0):
        env._states[-1][1] = height
        assert ((picture := env.render())[..., 0] > picture[..., 1] + 60).mean() > 0.01
