"""The checker of task environments: silent on ours, and each fault of a foreign one named with its remedy."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from maml_rl.rl.environments.checking import check_task_env


class Walk(gym.Env):
    """A point on a line with one fault, or none."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(-100.0, 100.0, (1,), np.float64)
    action_space: Any = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self, fault: str = "", render_mode: str | None = None) -> None:
        self.fault, self.render_mode, self.goal, self.position = fault, render_mode, 0.0, 0.0
        if fault == "constructor":
            raise RuntimeError("no line today")
        if fault == "actions":
            self.action_space = gym.spaces.MultiDiscrete([2, 2])
        if fault == "drawing":
            self.metadata = {"render_modes": []}

    def sample_tasks(self, count: int, rng: np.random.Generator) -> Any:
        if self.fault == "own randomness":
            rng = np.random.default_rng()
        tasks: list[Any] = [{"goal": float(goal)} for goal in rng.uniform(-3, 3, count)]
        if self.fault == "one task":
            tasks = [{"goal": 1.0}] * count
        if self.fault == "too few":
            tasks = tasks[1:]
        if self.fault in ("objects", "nan"):
            tasks[0]["goal"] = object() if self.fault == "objects" else float("nan")
        return tasks

    def set_task(self, task: Any) -> None:
        if set(task) != {"goal"} and self.fault != "anything goes":
            raise ValueError(f"a task has a goal, got {task}")
        if self.fault == "own tasks refused":
            raise ValueError("not this one")
        self.goal = task.get("goal", 0.0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.position = float(np.random.default_rng().normal()) if self.fault == "global randomness" else 0.0
        if self.fault == "forgets":
            self.goal = 0.0 if getattr(self, "played", None) == self.goal else self.goal
            self.played = self.goal
        observation = np.array([self.position])
        return observation if self.fault == "reset" else (observation, {})

    def step(self, action: Any) -> Any:
        if self.fault == "bounds" and abs(action[0]) > 1:
            raise ValueError("action out of bounds")
        self.position += float(np.clip(action[0], -1, 1))
        goal = 0.0 if self.fault == "no effect" else self.goal
        observation = np.array([self.position, 0.0] if self.fault == "shape" else [self.position])
        reward: Any = -abs(self.position - goal)
        if self.fault == "reward":
            reward = np.nan
        if self.fault in ("words", "ragged"):
            return ["a"] if self.fault == "words" else [[1.0], [1.0, 2.0]], reward, False, False, {}
        if self.fault == "observation":
            observation = observation * np.inf
        if self.fault == "old":
            return observation, reward, False, {}
        return observation, reward, False, False, {"lock": threading.Lock()} if self.fault == "lock" else {}

    def close(self) -> None:
        if self.fault == "close":
            raise RuntimeError("it is stuck")

    def render(self) -> Any:
        return np.zeros((4, 4), np.uint8) if self.fault == "picture" else np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def walk() -> Iterator[Callable[..., list[str]]]:
    several = lambda num_envs, **more: gym.vector.SyncVectorEnv([Walk] * num_envs)  # noqa: E731
    gym.register("Walk-v0", entry_point=Walk, max_episode_steps=10)
    gym.register("WalkOn-v0", entry_point=Walk)
    gym.register("WalkMany-v0", entry_point=Walk, max_episode_steps=10, vector_entry_point=several)
    yield lambda fault, name="Walk-v0": [
        f"{'error' if finding.serious else 'note'}: {finding.text}" for finding in check_task_env(name, fault=fault)
    ]
    for name in ("Walk-v0", "WalkOn-v0", "WalkMany-v0"):
        gym.registry.pop(name)


@pytest.mark.parametrize(
    "name",
    ["Navigation2D", "HalfCheetahVel", "HalfCheetahDir", "AntVel", "AntDir", "AntGoal", "Walker2dRandParams",
     "HopperRandParams", "Bandit", "TabularMDP"],
)  # fmt: skip
def test_our_own_have_no_fault(name: str) -> None:
    assert check_task_env(f"envs:{name}-v0") == []


def test_nothing_is_found_where_nothing_is_wrong(walk: Callable[..., list[str]]) -> None:
    assert walk("") == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("constructor", "error: environment 'Walk-v0' cannot be made: no line today"),
        ("actions", "error: the action space is MultiDiscrete"),
        ("own randomness", "error: sample_tasks(count, rng) draws other tasks from the same rng"),
        ("one task", "note: sample_tasks draws one task only"),
        ("too few", "error: sample_tasks(4, rng) must return a list of 4 tasks"),
        ("objects", "error: sample_tasks returned a task that cannot be stored"),
        ("nan", "error: sample_tasks returned a task that cannot be stored: a task must be made of finite numbers"),
        ("old", "error: step must return (observation, reward, terminated, truncated, info), got 4 values."),
        ("own tasks refused", "error: set_task refuses the task"),
        ("anything goes", "note: set_task accepts a task with an unknown name"),
        ("global randomness", "error: the same task, seed and actions give another episode"),
        ("forgets", "error: the same task, seed and actions give another episode"),
        ("reset", "error: reset must return (observation, info)"),
        ("bounds", "error: step failed: ValueError: action out of bounds. A Gaussian policy's actions have no bounds"),
        ("no effect", "note: all tasks gave the same observations and rewards"),
        ("shape", "error: step returned an observation of shape (2,), the space says (1,)"),
        ("reward", "error: step must return a finite number as reward, got nan"),
        ("observation", "error: step returned an observation that is not finite"),
        ("words", "error: step returned an observation that is no array of numbers"),
        ("ragged", "error: step returned an observation that is no array of numbers"),
        ("close", "note: close failed: RuntimeError: it is stuck"),
        ("lock", "note: backend 'async' is out"),
        ("drawing", "note: metadata['render_modes'] lacks 'rgb_array'"),
        ("picture", "note: render must return [height, width, 3] of uint8, got uint8 (4, 4)"),
    ],
)
def test_each_fault_is_named(walk: Callable[..., list[str]], fault: str, message: str) -> None:
    findings = walk(fault)
    assert any(line.startswith(message) for line in findings), findings


def test_a_missing_horizon_and_missing_methods_are_named(walk: Callable[..., list[str]]) -> None:
    assert any("there is no horizon" in line for line in walk("", "WalkOn-v0"))
    (finding,) = check_task_env("CartPole-v1")
    assert "CartPoleEnv lacks sample_tasks and set_task" in finding.text
    (finding,) = check_task_env("nobodys_package:Nothing-v0")
    assert finding.serious


def test_a_vector_version_that_is_not_used_is_named(walk: Callable[..., list[str]]) -> None:
    (told,) = walk("", "WalkMany-v0")
    assert told.startswith("note: the vector version is not used, for it lacks something")


def test_unknown_arguments_are_named_with_the_known_ones(walk: Callable[..., list[str]]) -> None:
    (finding,) = check_task_env("Walk-v0", speed=3)
    told = "environment 'Walk-v0' cannot be made: its constructor has no argument 'speed'; it has fault."
    assert finding.text == told


def test_too_few_values_of_a_step_are_named_without_a_wrapper_that_unpacks_them(
    walk: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = lambda config, **more: Walk("old")  # noqa: E731
    monkeypatch.setattr("maml_rl.rl.environments.checking.all_checks.make_single", bare)
    told = "error: step must return (observation, reward, terminated, truncated, info), got 4 values."
    assert told in walk("old")


def test_the_script_ends_with_a_verdict(
    walk: Callable[..., list[str]], script: Callable[[str, list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert script("check_env", ["--environment.id", "envs:Bandit-v0"]) == 0
    assert "envs:Bandit-v0 can be trained on." in capsys.readouterr().out
    argv = ["--environment.id", "Walk-v0", "--environment.arguments", '{"fault": "reward"}']
    assert script("check_env", argv) == 1
    told = capsys.readouterr().out
    assert "error: step must return a finite number" in told
    assert "Walk-v0 cannot be trained on as it is." in told
