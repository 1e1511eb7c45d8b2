"""A task distribution as a single Gymnasium environment."""

from collections import deque
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.argument_checks import check_options, one_of
from envs.task_distribution import Array, Simulator, TaskDistribution, assign_tasks
from maml_rl.rl.environments.task_env import Task

__all__ = ["SingleTaskEnv"]


class SingleTaskEnv(gym.Env[Array, Any]):
    """Steps one environment of a `TaskDistribution`; satisfies `maml_rl.rl.environments.task_env.TaskEnv`.

    A task is set by `set_task` or by ``reset(options={"task": task})``, and stays until the next one; without either
    the first reset draws one. Setting a task ends the episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  # as gym.Env declares it

    def __init__(
        self, distribution: TaskDistribution, simulator: Simulator, render_mode: str | None = None, fps: int = 20
    ) -> None:
        self.metadata = {**type(self).metadata, "render_fps": fps}
        one_of((None, "rgb_array"), render_mode=render_mode)
        self.distribution, self.simulator, self.render_mode = distribution, simulator, render_mode
        self.observation_space: gym.Space[Any] = distribution.observation_space
        self.action_space: gym.Space[Any] = distribution.action_space
        self.horizon = distribution.horizon
        self._task: Task | None = None
        self._states: deque[Array] = deque(maxlen=distribution.rendered_states)
        self._elapsed = 0
        self._running = False

    @property
    def task(self) -> Task | None:
        """The task in force, if one has been set or drawn."""
        return self._task

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks."""
        return self.distribution.sample_tasks(count, rng)

    def reference_returns(self, task: Task, steps: int) -> dict[str, float]:
        """Expected returns of `steps` steps to compare others with, such as the optimum; empty where none are known."""
        return self.distribution.reference_returns(task, steps)

    def state_values(self, task: Task) -> tuple[Array, Array] | None:
        """Observations of all states [S, O] and the expected undiscounted return from each, [S]; None if unknown."""
        return None if self.distribution.state_values is None else self.distribution.state_values(task)

    def set_task(self, task: Task) -> None:
        """Makes `task` the next reset's; ends the episode.

        Raises:
            TaskError: unknown names or values out of range.
        """
        self._task = self.distribution.check_task(task)
        self._running = False
        assign_tasks(self.simulator, [self._task])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Starts an episode; ``options={"task": task}`` sets the task first."""
        super().reset(seed=seed)
        check_options(options or {}, ("task",))
        if options and "task" in options:
            self.set_task(options["task"])
        if self._task is None:
            self.set_task(self.sample_tasks(1, self.np_random)[0])
        self._states.clear()
        self._states.append(self.simulator.initial(self.np_random))
        self._elapsed, self._running = 0, True
        return self.distribution.observe(self._states[-1][None])[0], {"task": deepcopy(self._task)}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One environment step; info holds the task.

        Raises:
            ValueError: an action of the wrong shape or with entries that are not finite.
            gymnasium.error.ResetNeeded: no episode is running.
        """
        if not self._running:
            raise gym.error.ResetNeeded("no episode is running: call reset() first, also after setting a task.")
        assert self._task is not None
        controls = self.distribution.control(self.distribution.check_actions(action, None)[None])
        state = self._states[-1][None]
        after = self.simulator.advance(state, controls)
        tasks = self.distribution.stack_tasks([self._task])
        reward = float(self.distribution.reward(state, controls, after, tasks)[0])
        terminated = bool(self.distribution.terminated(after, tasks)[0])
        self._states.append(after[0])
        self._elapsed += 1
        truncated = self._elapsed >= self.horizon
        self._running = not (terminated or truncated)
        return self.distribution.observe(after)[0], reward, terminated, truncated, {"task": deepcopy(self._task)}

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """A picture of the current state with the task drawn into it.

        Raises:
            gymnasium.error.ResetNeeded: there is no episode to draw.
        """
        if self._task is None or not self._states:
            raise gym.error.ResetNeeded("nothing to draw: call reset() first.")
        return self.distribution.render(np.stack(self._states), self._task)
