"""A vector of task environments behind checks: what a reset or step returns has the right shape and is finite."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.random import PCG64, Generator, SeedSequence
from torch import Tensor

from maml_rl.rl.environments.task_env import Task, TaskError, plain_task
from maml_rl.rl.environments.vector import EnvironmentConfig, horizon_of, make_vector
from maml_rl.rl.sampling.seeds import RESETS, child_seed

__all__ = ["SimulationError", "Stepper", "Stepped"]


class SimulationError(RuntimeError):
    """An environment raised, or returned something that is not a number."""


class Stepped(NamedTuple):
    """What a step of all B = N E environments returned.

    Attributes:
        observations: [B, O].
        rewards: [B].
        terminated: [B].
        truncated: [B].
        successes: [B], or None where no environment says it.
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    successes: np.ndarray | None


class Stepper:
    """`tasks * episodes` environments that step together.

    Args:
        config: the environment.
        tasks: N.
        episodes: E, environments of each task.

    Raises:
        EnvironmentError: see `make_vector`.
    """

    def __init__(self, config: EnvironmentConfig, tasks: int, episodes: int) -> None:
        self.tasks, self.episodes, self.count = tasks, episodes, tasks * episodes
        self.envs = make_vector(config, self.count)
        self.horizon = horizon_of(config, self.envs)
        self.observation_size = gym.spaces.flatdim(self.envs.single_observation_space)
        space = self.envs.single_action_space
        self._first_action = int(space.start) if isinstance(space, gym.spaces.Discrete) else None

    def draw_tasks(self, seed: SeedSequence, count: int | None = None) -> list[Task]:
        """Draws so many tasks, N where nothing is given, as dictionaries of plain numbers, strings and lists.

        Raises:
            SimulationError: the environment raised, or drew something else.
        """
        wanted = self.tasks if count is None else count
        drawn = _attempt("when it drew tasks", lambda: self.envs.sample_tasks(wanted, Generator(PCG64(seed))))
        if not isinstance(drawn, Sequence) or len(drawn) != wanted:
            raise SimulationError(f"sample_tasks({wanted}, rng) must return {wanted} tasks, got {drawn!r}."[:300])
        try:
            return [plain_task(task) for task in drawn]
        except TaskError as error:
            raise SimulationError(f"sample_tasks returned a task that cannot be stored: {error}") from error

    def reset(self, tasks: Sequence[Task], seeds: Sequence[SeedSequence]) -> np.ndarray:
        """Gives each environment its task and starts it: observations [B, O]."""
        each = [int(word) for seed in seeds for word in child_seed(seed, RESETS).generate_state(self.episodes)]
        self._assign(tasks)
        observations, _ = _attempt("at reset", lambda: self.envs.reset(seed=each))
        expected = (self.count, self.observation_size)
        if np.shape(observations) != expected:
            raise SimulationError(f"reset must return observations of shape {expected}, got {np.shape(observations)}.")
        self.require_finite(observations, tasks, 0, "the first observation")
        return np.asarray(observations)

    def restore(self, tasks: Sequence[Task], snapshot: Mapping[str, np.ndarray]) -> None:
        """Gives each environment its task and goes on from a snapshot; the environments are `HasSnapshots`."""
        self._assign(tasks)
        envs: Any = self.envs
        _attempt("when it was to go on from a checkpoint", lambda: envs.restore(snapshot))

    def restart(self, over: np.ndarray, time: int) -> np.ndarray:
        """Starts the environments in a mask again, [B]: observations [B, O]."""
        options = {"reset_mask": over}
        observations, _ = _attempt(f"at the reset after time step {time}", lambda: self.envs.reset(options=options))
        return np.asarray(observations)

    def step(self, actions: Tensor, alive: np.ndarray, tasks: Sequence[Task], time: int) -> Stepped:
        """One step of all environments.

        Args:
            actions: [N, E, ...].
            alive: [B], whose data count; what others return is replaced by zeros.
            tasks: N of them, for messages.
            time: which step, for messages.

        Raises:
            SimulationError: an environment raised, or returned other shapes or numbers that are not finite.
        """
        flat = actions.reshape(self.count, *actions.shape[2:]).cpu().numpy()
        if self._first_action is not None:
            flat = flat + self._first_action
        when = f"at time step {time}"
        observations, rewards, terminated, truncated, info = _attempt(when, lambda: self.envs.step(flat))
        for name, value, shape in (
            ("observations", observations, (*alive.shape, self.observation_size)),
            ("rewards", rewards, alive.shape),
            ("terminated", terminated, alive.shape),
            ("truncated", truncated, alive.shape),
        ):
            if np.shape(value) != shape:
                raise SimulationError(f"step must return {name} of shape {shape}, got {np.shape(value)}.")
        if not alive.all():  # what an environment does after its episode is nobody's data, finite or not
            observations, rewards = np.where(alive[:, None], observations, 0.0), np.where(alive, rewards, 0.0)
        self.require_finite(observations, tasks, time, "the observation")
        self.require_finite(rewards, tasks, time, "the reward")
        successes = info.get("success")
        if successes is not None:
            successes = _attempt(f"{when} (success)", lambda: np.asarray(info["success"], float) > 0)
        return Stepped(observations, rewards, terminated, truncated, successes)

    def try_out(self) -> None:
        """Draws tasks, starts an episode of each and takes a step.

        Raises:
            ValueError: it fails; what is wrong with the environment is told before any work.
        """
        try:
            tasks = self.draw_tasks(SeedSequence(0))
            self.reset(tasks, [SeedSequence([0, task]) for task in range(self.tasks)])
            self.step(self._any_action(), np.ones(self.count, bool), tasks, 0)
        except SimulationError as error:
            raise ValueError(f"{error} (scripts/check_env.py says more)") from error

    def require_finite(
        self, values: Any, tasks: Sequence[Task], time: int, what: str, raises: type[Exception] = SimulationError
    ) -> None:
        """Raises unless all values, [B, ...] or [N, E, ...], are finite; the message names task, episode and time."""
        # One sum is much cheaper than a test of every entry, and is finite only if all of them are.
        if math.isfinite(float(values.sum())):
            return
        host = np.asarray(values.cpu() if isinstance(values, Tensor) else values).reshape(self.tasks, -1)
        bad = np.argwhere(~np.isfinite(host))
        if len(bad):
            task, entry = (int(index) for index in bad[0])
            episode = entry * self.episodes // host.shape[1]
            raise raises(
                f"task {task} {tasks[task]}, episode {episode}, time step {time}: {what} is not a finite number."
            )

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()

    def _assign(self, tasks: Sequence[Task]) -> None:
        assigned = [task for task in tasks for _ in range(self.episodes)]
        _attempt("when it was given its tasks", lambda: self.envs.set_tasks(assigned))

    def _any_action(self) -> Tensor:
        """One action of the space for all, as policies give them."""
        space = self.envs.single_action_space
        space.seed(0)
        action = torch.as_tensor(np.asarray(space.sample()) - (self._first_action or 0))
        return action.expand(self.tasks, self.episodes, *action.shape)


def _attempt(when: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(".")
        raise SimulationError(f"the environment failed {when}: {reason}.") from error
