"""A task distribution as one Gymnasium vector environment that steps all its sub-environments at once."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.argument_checks import check_options
from envs.generator_words import generator_of_words, generator_words
from envs.task_distribution import (
    FOREVER,
    Array,
    Closable,
    Simulator,
    TaskArrays,
    TaskDependent,
    TaskDistribution,
    assign_tasks,
)
from maml_rl.rl.environments.task_env import Task, TensorStep

__all__ = ["NativeTaskVectorEnv"]


class NativeTaskVectorEnv(VectorEnv[Array, Any, Array]):
    """Steps n environments of a `TaskDistribution` in lockstep, as a `maml_rl.rl.environments.task_env.VectorTaskEnv`.

    It returns, bitwise, what n `SingleTaskEnv` with the same seeds, tasks and actions return. It never resets by
    itself: ``reset(options={"reset_mask": mask})`` starts the chosen sub-environments again.

    Args:
        distribution: the task distribution.
        simulator: its dynamics.
        num_envs: n.
        max_episode_steps: a horizon shorter than the distribution's, if any.
    """

    def __init__(
        self, distribution: TaskDistribution, simulator: Simulator, num_envs: int, max_episode_steps: int | None = None
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"`num_envs` must be at least 1, got {num_envs}.")
        self.distribution, self.simulator, self.num_envs = distribution, simulator, num_envs
        longest = distribution.horizon
        if max_episode_steps is not None and not 1 <= max_episode_steps <= longest:
            raise ValueError(
                f"`max_episode_steps` must be between 1 and the horizon {longest}, got {max_episode_steps}."
            )
        self.horizon = max_episode_steps or longest
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.single_observation_space, self.single_action_space = (
            distribution.observation_space,
            distribution.action_space,
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._tasks: list[Task | None] = [None] * num_envs
        self._task_arrays = {
            name: np.zeros((num_envs, *values.shape)) for name, values in distribution.parameters.items()
        }
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._running = np.zeros(num_envs, bool)
        self._elapsed = np.zeros(num_envs, int)
        self._states: Array | None = None

    @property
    def tasks(self) -> list[Task | None]:
        """The task of each sub-environment, None before one is set or drawn."""
        return list(self._tasks)

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks."""
        return self.distribution.sample_tasks(count, rng)

    def reference_returns(self, task: Task, steps: int) -> dict[str, float]:
        """Expected returns of `steps` steps to compare others with, such as the optimum; empty where none are known."""
        return self.distribution.reference_returns(task, steps)

    def state_values(self, task: Task) -> tuple[Array, Array] | None:
        """Observations of all states [S, O] and the expected undiscounted return from each, [S]; None if unknown."""
        return None if self.distribution.state_values is None else self.distribution.state_values(task)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives each sub-environment its task; ends all episodes.

        Raises:
            ValueError: not one task for each sub-environment.
            TaskError: unknown names or values out of range.
        """
        if len(tasks) != self.num_envs:
            raise ValueError(f"`tasks` must have {self.num_envs} entries, one for each environment, got {len(tasks)}.")
        self._task_arrays = self.distribution.stack_tasks(tasks)
        self._tasks = list(tasks)
        self._running[:] = False
        assign_tasks(self.simulator, tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts episodes: of all sub-environments, or of those in ``options["reset_mask"]``.

        Args:
            seed: one for each sub-environment, or a number that the i-th adds i to.
            options: "tasks" sets all tasks first; "reset_mask", [n] bool, chooses.

        Raises:
            ValueError: a list of seeds, tasks or a mask of the wrong length.
        """
        options = options or {}
        check_options(options, ("tasks", "reset_mask"))
        if "tasks" in options:
            self.set_tasks(options["tasks"])
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(f"`reset_mask` must be bool of shape ({self.num_envs},), got {mask.dtype} {mask.shape}.")
        seeds: Any = [int(seed) + i for i in range(self.num_envs)] if isinstance(seed, Integral) else seed
        if seeds is not None and len(seeds) != self.num_envs:
            raise ValueError(f"`seed` must have {self.num_envs} entries, one for each environment, got {len(seeds)}.")
        drawing = any(task is None for task in self._tasks)
        for index in np.flatnonzero(mask):
            self._start(int(index), None if seeds is None else seeds[int(index)])
        if drawing and None not in self._tasks:
            assign_tasks(self.simulator, [task for task in self._tasks if task is not None])
        self._running[mask] = True
        self._elapsed[mask] = 0
        assert self._states is not None
        return self.distribution.observe(self._states), {}

    def step(  # type: ignore[override]  # Gymnasium has one array type for rewards and flags
        self, actions: Any
    ) -> tuple[Array, Array, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One step of every sub-environment.

        Raises:
            ValueError: actions of the wrong shape or with entries that are not finite.
            gymnasium.error.ResetNeeded: an episode has ended and was not reset.
        """
        self._require_running()
        assert self._states is not None
        controls = self.distribution.control(self.distribution.check_actions(actions, self.num_envs))
        before, after = self._states, self.simulator.advance(self._states, controls)
        rewards = self.distribution.reward(before, controls, after, self._task_arrays)
        terminated = self.distribution.terminated(after, self._task_arrays)
        self._states = after
        self._elapsed += 1
        truncated = self._elapsed >= self.horizon
        self._running = ~(terminated | truncated)
        return self.distribution.observe(after), rewards, terminated, truncated, {}

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Where the sub-environments stand in their episodes, and what they draw the next ones from.

        Raises:
            gymnasium.error.ResetNeeded: an episode has ended and was not reset.
        """
        if self._states is None or not self._running.all():
            raise gym.error.ResetNeeded("a snapshot needs running episodes: reset all environments before.")
        words = [generator_words(generator) for generator in self._generators if generator is not None]
        return {"states": self._states.copy(), "elapsed": self._elapsed.copy(), "generators": np.stack(words)}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from a snapshot of as many sub-environments with the same tasks, which are to be set before."""
        self._states, self._elapsed = snapshot["states"].copy(), snapshot["elapsed"].copy()
        self._generators = [generator_of_words(words) for words in snapshot["generators"]]
        self._running[:] = True

    def tensor_step(self) -> TensorStep | None:
        """A step as a function of tensors, of a distribution whose episodes never end and whose actions are choices.

        A simulator that is given its tasks beforehand is no such function.
        """
        distribution, simulator, space = self.distribution, self.simulator, self.single_action_space
        pure = distribution.tensors and not isinstance(simulator, TaskDependent) and self.horizon >= FOREVER
        if not (pure and isinstance(space, spaces.Discrete) and space.start == 0):
            return None

        def step(states: Any, actions: Any, tasks: Mapping[str, Any]) -> tuple[Any, Any, Any]:
            controls: Any = distribution.control(actions)
            after: Any = simulator.advance(states, controls)
            return after, distribution.observe(after), distribution.reward(states, controls, after, dict(tasks))

        return step

    def task_arrays(self) -> TaskArrays:
        """Parameters of the tasks in force, [n, ...] each."""
        return dict(self._task_arrays)

    def standing(self) -> Array:
        """The states, [n, ...].

        Raises:
            gymnasium.error.ResetNeeded: an episode has ended and was not reset.
        """
        self._require_running()
        assert self._states is not None
        return self._states.copy()

    def go_on(self, states: Array, steps: int) -> None:
        """Takes states to which `steps` steps have led elsewhere (see `tensor_step`).

        Raises:
            RuntimeError: the task would have ended an episode there, which steps taken elsewhere do not see.
        """
        if self.distribution.terminated(states, self._task_arrays).any():
            raise RuntimeError("an episode ended in steps taken elsewhere, which are for episodes without an end.")
        self._states = states.copy()
        self._elapsed += steps

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the simulator's threads, if it has any."""
        if isinstance(self.simulator, Closable):
            self.simulator.close()

    def _require_running(self) -> None:
        if not self._running.all():
            index = int(np.flatnonzero(~self._running)[0])
            raise gym.error.ResetNeeded(
                f"environment {index} has no running episode: reset it (options={{'reset_mask': mask}}) before step()."
            )

    def _start(self, index: int, seed: int | None) -> None:
        generator = self._generators[index]
        if seed is not None or generator is None:
            generator = self._generators[index] = seeding.np_random(seed)[0]
        if self._tasks[index] is None:
            task = self._tasks[index] = self.sample_tasks(1, generator)[0]
            for name, value in task.items():
                self._task_arrays[name][index] = value
        state = self.simulator.initial(generator)
        if self._states is None:
            self._states = np.zeros((self.num_envs, len(state)))
        self._states[index] = state
