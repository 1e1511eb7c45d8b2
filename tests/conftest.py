"""Shared by all tests: one torch thread, no screen, scripts as functions, and a task environment from elsewhere."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("MPLBACKEND", "agg")

import gymnasium as gym
import pytest
import torch

from maml_rl.run.cli import exit_code

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_image_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded images are shared by the tests, and do not go to the user's folder."""
    os.environ.setdefault("MAML_RL_CACHE", str(tmp_path_factory.mktemp("images")))


@pytest.fixture(autouse=True, scope="session")
def _interrupts_arrive() -> None:
    """Also where the tests run in the background, to which a shell gives no interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def script() -> Callable[[str, list[str]], int]:
    """``script("train", [...])`` runs a script in this process and returns its exit code."""

    def run(name: str, argv: list[str]) -> int:
        spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return exit_code(module.main, argv)

    return run


THIRD_PARTY = '''
"""A package that knows Gymnasium and nothing of maml_rl: a corridor whose exit is left or right."""
import gymnasium as gym
import numpy as np


class Corridor(gym.Env):
    observation_space = gym.spaces.Box(-10.0, 10.0, (1,), np.float64)
    action_space = gym.spaces.Discrete(2, start=3)

    def __init__(self, fault=None):
        self.fault, self.side, self.position = fault, None, 0.0
        if fault == "constructor":
            raise RuntimeError("the motor is missing")

    def sample_tasks(self, count, rng):
        if self.fault == "draw":
            raise ValueError("no tasks today")
        if self.fault == "few":
            return []
        if self.fault == "odd":
            return [{"side": object()}] * count
        return [{"side": side} for side in rng.choice([-1, 1], count)]  # numpy's integers, as people write it

    def set_task(self, task):
        self.side = task["side"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fault == "again" and seed is None:
            raise ValueError("the second reset is one too many")
        self.after_end = seed is None  # only a reset in the middle of the data comes without a seed
        self.position, self.taken = float(self.np_random.uniform(-0.5, 0.5)), 0
        return np.array([self.position]), {}

    def step(self, action):
        assert action in (3, 4)
        if self.fault != "late nan":
            assert np.isfinite(self.position)
        self.position += 2.0 * (action - 3) - 1.0
        self.taken += 1
        reward = float(self.side * self.position)
        if self.fault == "late nan" and self.after_end:
            reward = self.position = float("nan")
        if self.fault == "nan" and self.taken == 2:
            reward = float("nan")
        if self.fault == "raise at once" or (self.fault == "raise" and self.taken == 2):
            raise RuntimeError("the wall fell down")
        info = {"success": abs(self.position) > 3.3} if self.fault == "success" else {}
        return np.array([self.position]), reward, abs(self.position) > 3, False, info




gym.register("Corridor-v0", entry_point=Corridor, max_episode_steps=8)
gym.register("NoTasks-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=8)
gym.register("Endless-v0", entry_point=Corridor)
'''


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package outside this repository; its name."""
    name = "corridor_of_somebody_else"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / f"{name}.py").write_text(THIRD_PARTY)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    sys.modules.pop(name, None)
    yield name
    for identifier in ("Corridor-v0", "NoTasks-v0", "Endless-v0"):
        gym.registry.pop(identifier, None)
