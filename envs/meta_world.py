"""Meta-World's benchmarks ML1 and ML10 (Yu et al., 2020) as task distributions: its classes, its task sets, its goals.

Needs the package metaworld, which pins an older MuJoCo: see docs/environments.md.
"""

from functools import lru_cache
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.argument_checks import one_of, whole
from envs.task_distribution import Array
from maml_rl.rl.environments.task_env import Task, TaskError

__all__ = ["MetaWorldTasks"]

_BOUND = 1e3  # metres; Meta-World's own bounds differ from class to class
_MOST = 500  # steps after which Meta-World wants a reset


@lru_cache(maxsize=8)
def _benchmark(benchmark: str, name: str, seed: int) -> Any:
    try:
        import metaworld
    except ImportError:
        raise ValueError(
            "Meta-World is not installed. It pins MuJoCo 3.3.0, so give it an environment of its own: "
            "docs/environments.md has the commands."
        ) from None
    if benchmark == "ML10":
        return metaworld.ML10(seed=seed)
    if name not in metaworld.ML1.ENV_NAMES:
        raise ValueError(f"Meta-World has no environment {name!r}; there are {', '.join(metaworld.ML1.ENV_NAMES)}.")
    return metaworld.ML1(name, seed=seed)


class MetaWorldTasks(gym.Env[Array, Array]):
    """The tasks of one split of a benchmark. Goals are not observed; `info["success"]` is Meta-World's.

    Task: ``{"environment": "reach-v3", "goal": i}``, the i-th of the 50 goals that the benchmark drew for the class.

    Args:
        benchmark: "ML1" or "ML10".
        name: of ML1: the environment.
        split: "train" or "test": goals in ML1, classes in ML10.
        benchmark_seed: of the goals.
        horizon: steps of an episode, at most 500.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: Meta-World is missing, or an argument is impossible.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012  # as gym.Env declares it

    def __init__(
        self,
        benchmark: Literal["ML1", "ML10"],
        name: str = "reach-v3",
        split: Literal["train", "test"] = "train",
        benchmark_seed: int = 0,
        horizon: int = _MOST,
        render_mode: str | None = None,
    ) -> None:
        whole(horizon=horizon)
        if horizon > _MOST:
            raise ValueError(f"`horizon` must be at most {_MOST}, got {horizon}.")
        one_of(("train", "test"), split=split)
        one_of((None, "rgb_array"), render_mode=render_mode)
        made = _benchmark(benchmark, name, benchmark_seed)
        self._classes = made.train_classes if split == "train" else made.test_classes
        self._goals: dict[str, list[Any]] = {environment: [] for environment in self._classes}
        for task in made.train_tasks if split == "train" else made.test_tasks:
            self._goals[task.env_name].append(task)
        self._env: Any = None
        self._environment: str | None = None
        self._steps = 0
        self.horizon, self.render_mode = horizon, render_mode
        self.observation_space: gym.Space[Any] = gym.spaces.Box(-_BOUND, _BOUND, (39,), np.float64)
        self.action_space: gym.Space[Any] = gym.spaces.Box(-1.0, 1.0, (4,), np.float64)

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws classes, then goals, both uniformly."""
        names = list(self._goals)
        chosen = [names[index] for index in rng.integers(len(names), size=count)]
        return [{"environment": name, "goal": int(rng.integers(len(self._goals[name])))} for name in chosen]

    def set_task(self, task: Task) -> None:
        """Makes `task` the next reset's.

        Raises:
            TaskError: another class than the split's, or a goal that there is not.
        """
        if not isinstance(task, dict) or set(task) != {"environment", "goal"}:
            raise TaskError(f"a task of Meta-World has the keys ['environment', 'goal'], got {task!r}.")
        environment, goal = task["environment"], task["goal"]
        if environment not in self._goals:
            raise TaskError(f"environment must be one of {', '.join(self._goals)}, got {environment!r}.")
        if not isinstance(goal, int) or not 0 <= goal < len(self._goals[environment]):
            raise TaskError(f"goal must be within 0 and {len(self._goals[environment]) - 1}, got {goal!r}.")
        if environment != self._environment:  # one simulation at a time: each takes many megabytes
            self.close()
            self._env = self._classes[environment](render_mode=self.render_mode, camera_name="corner2")
            self._environment = environment
        self._env.set_task(self._goals[environment][goal])
        self._steps = self.horizon

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Starts an episode; the first one draws a task where none was set."""
        super().reset(seed=seed)
        if self._env is None:
            self.set_task(self.sample_tasks(1, self.np_random)[0])
        observation, _ = self._env.reset(seed=seed)
        self._steps = 0
        return np.asarray(observation, np.float64), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step; info holds "success", 0 or 1."""
        if self._env is None or self._steps >= self.horizon:
            raise gym.error.ResetNeeded("no episode is running: call reset() first, also after setting a task.")
        bounded = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        observation, reward, _, _, info = self._env.step(bounded)
        self._steps += 1
        success = {"success": float(info["success"])}
        return np.asarray(observation, np.float64), float(reward), False, self._steps >= self.horizon, success

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """A picture from the corner, the right way up.

        Raises:
            gymnasium.error.ResetNeeded: there is no episode to draw.
        """
        if self._env is None:
            raise gym.error.ResetNeeded("nothing to draw: call reset() first.")
        return np.ascontiguousarray(self._env.render()[::-1])

    def close(self) -> None:
        """Closes the class's environment."""
        if self._env is not None:
            self._env.close()
