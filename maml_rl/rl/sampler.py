"""Episodes of all tasks in lockstep, under one policy with parameters of its own for each task."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from numpy.random import PCG64, Generator, SeedSequence
from torch import Tensor

from maml_rl.core.types import Params
from maml_rl.rl.environments.task_env import Task, TaskError, plain_task
from maml_rl.rl.environments.vector import EnvironmentConfig, horizon_of, make_vector
from maml_rl.rl.policies import Policy
from maml_rl.rl.trajectories import Trajectories

__all__ = ["Sampler", "SimulationError", "Watch", "drawing_seed", "task_seeds"]

_RESETS, _ACTIONS, _DRAWING = range(3)

Watch: TypeAlias = Callable[[Tensor, np.ndarray, np.ndarray], None]
"""``watch(actions, rewards, alive)`` sees a step: actions [N, E, ...], rewards [N E], and [N E] whether it counts."""


class SimulationError(RuntimeError):
    """An environment raised, or returned something that is not a number."""


def task_seeds(seed: int, stream: int, iteration: int, step: int, tasks: int) -> list[SeedSequence]:
    """One seed a task, unique to (seed, stream, iteration, inner step, task).

    `stream` keeps training and evaluation apart. Resets and actions each take a child of it.
    """
    return [SeedSequence([seed, stream, iteration, step, task]) for task in range(tasks)]


def drawing_seed(seed: int, stream: int, iteration: int) -> SeedSequence:
    """The seed that an iteration's tasks are drawn with: a child that neither resets nor actions take."""
    return _child(SeedSequence([seed, stream, iteration, 0, 0]), _DRAWING)


class Sampler:
    """A vector of `tasks * episodes` environments and the loop that steps them.

    Args:
        config: the environment.
        tasks: N.
        episodes: E, episodes per task and call.
        device: where the policy runs and where trajectories end up.
        dtype: of the trajectories.

    Raises:
        EnvironmentError: see `make_vector`.
    """

    def __init__(
        self, config: EnvironmentConfig, tasks: int, episodes: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.tasks, self.episodes, self.device, self.dtype = tasks, episodes, device, dtype
        self.envs = make_vector(config, tasks * episodes)
        self.horizon = horizon_of(config, self.envs)
        space = self.envs.single_action_space
        self._first_action = int(space.start) if isinstance(space, gym.spaces.Discrete) else None

    def sample_tasks(self, seed: SeedSequence) -> list[Task]:
        """Draws N tasks, as dictionaries of plain numbers, strings and lists.

        Raises:
            SimulationError: the environment raised, or drew something else.
        """
        drawn = self._attempt("when it drew tasks", lambda: self.envs.sample_tasks(self.tasks, Generator(PCG64(seed))))
        if not isinstance(drawn, Sequence) or len(drawn) != self.tasks:
            raise SimulationError(
                f"sample_tasks({self.tasks}, rng) must return {self.tasks} tasks, got {drawn!r}."[:300]
            )
        try:
            return [plain_task(task) for task in drawn]
        except TaskError as error:
            raise SimulationError(f"sample_tasks returned a task that cannot be stored: {error}") from error

    def try_out(self) -> None:
        """Draws tasks, starts an episode of each and takes a step.

        Raises:
            ValueError: it fails; what is wrong with the environment is told before any work.
        """
        try:
            tasks = self.sample_tasks(SeedSequence(0))
            self._reset(tasks, [SeedSequence([0, task]) for task in range(self.tasks)])
            self._step(self._any_action(), np.ones(self.tasks * self.episodes, bool), tasks, 0)
        except SimulationError as error:
            raise ValueError(f"{error} (scripts/check_env.py says more)") from error

    def sample(
        self,
        policy: Policy,
        params: Params,
        tasks: Sequence[Task],
        seeds: Sequence[SeedSequence],
        watch: Watch | None = None,
    ) -> Trajectories:
        """Runs E episodes of each task.

        What happens in a task depends on its own seed alone: up to rounding, not on how many others run beside it.

        Args:
            policy: the policy.
            params: its parameters, [N, ...] a leaf.
            tasks: N of them.
            seeds: one for each task (see `task_seeds`).
            watch: called after each step, for policies with a memory.

        Raises:
            SimulationError: an environment raised or returned a non-finite number; the message names the task.
        """
        with torch.no_grad(), _one_torch_thread():
            return self._sample(policy, params, tasks, seeds, watch)

    def _sample(
        self,
        policy: Policy,
        params: Params,
        tasks: Sequence[Task],
        seeds: Sequence[SeedSequence],
        watch: Watch | None,
    ) -> Trajectories:
        n, e, horizon = self.tasks, self.episodes, self.horizon
        size = gym.spaces.flatdim(self.envs.single_observation_space)
        observations = np.zeros((horizon + 1, n * e, size), np.float64 if self.dtype == torch.float64 else np.float32)
        rewards, mask = np.zeros((horizon, n * e)), np.zeros((horizon, n * e))
        terminated = np.zeros(n * e, bool)
        successes: np.ndarray | None = None
        last = np.zeros_like(observations[0])
        noise = self._draw_noise(policy, seeds)
        actions: list[Tensor] = []
        distributions: list[Any] = []
        observations[0] = self._reset(tasks, seeds)
        alive = np.ones(n * e, bool)
        for t in range(horizon):
            seen = torch.from_numpy(observations[t]).view(n, e, size).to(self.device)
            distribution = policy.act(params, seen)
            action = distribution.sample(noise[t])
            for part in distribution:
                self._require_finite(part, tasks, t, "the policy's output", FloatingPointError)
            observation, reward, ended, cut, success = self._step(action, alive, tasks, t)
            if watch is not None:
                watch(action, reward, alive)
            if success is not None:
                successes = (np.zeros(n * e, bool) if successes is None else successes) | (alive & success)
            actions.append(action)
            distributions.append(distribution)
            mask[t], rewards[t] = alive, reward
            observations[t + 1] = observation
            finishing = alive & (ended | cut)
            if finishing.any() or t == horizon - 1:
                closing = finishing | (alive if t == horizon - 1 else False)
                last[closing] = observations[t + 1][closing]
                terminated |= finishing & ended
                alive = alive & ~closing
            if not alive.any():
                break
            if (ended | cut).any():
                self._restart(ended | cut, t)
                observations[t + 1][~alive] = 0.0
        length = t + 1
        stacked = type(distributions[0])(*(torch.stack(parts) for parts in zip(*distributions, strict=True)))
        taken = torch.stack(actions)
        steps_first = {
            "observations": torch.from_numpy(observations[:length]).view(length, n, e, size),
            "actions": taken,
            "rewards": torch.from_numpy(rewards[:length]).view(length, n, e),
            "mask": torch.from_numpy(mask[:length]).view(length, n, e),
            "log_probs": stacked.log_prob(taken),
        }
        fields = {name: self._put(value).movedim(0, 2).contiguous() for name, value in steps_first.items()}
        fields["log_probs"] = fields["log_probs"] * fields["mask"]
        return Trajectories(
            **fields,
            last_observations=self._put(torch.from_numpy(last).view(n, e, size)),
            terminated=torch.from_numpy(terminated).view(n, e).to(self.device),
            successes=None if successes is None else torch.from_numpy(successes).view(n, e).to(self.device),
        )

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()

    def _any_action(self) -> Tensor:
        """One action of the space for all, as policies give them."""
        space = self.envs.single_action_space
        space.seed(0)
        action = torch.as_tensor(np.asarray(space.sample()) - (self._first_action or 0))
        return action.expand(self.tasks, self.episodes, *action.shape)

    def _put(self, value: Tensor) -> Tensor:
        kind = self.dtype if value.is_floating_point() else value.dtype
        return value.to(self.device, kind)

    def _draw_noise(self, policy: Policy, seeds: Sequence[SeedSequence]) -> Tensor:
        """[T, N, E, ...]: each task's noise from its own seed."""
        shape = (self.horizon, self.episodes)
        drawn = [policy.draw_noise(Generator(PCG64(_child(seed, _ACTIONS))), shape) for seed in seeds]
        return torch.from_numpy(np.stack(drawn, axis=1)).to(self.device, self.dtype)

    def _reset(self, tasks: Sequence[Task], seeds: Sequence[SeedSequence]) -> np.ndarray:
        each = [int(word) for seed in seeds for word in _child(seed, _RESETS).generate_state(self.episodes)]
        self._attempt("when it was given its tasks", lambda: self.envs.set_tasks(
            [task for task in tasks for _ in range(self.episodes)]
        ))  # fmt: skip
        observation, _ = self._attempt("at reset", lambda: self.envs.reset(seed=each))
        expected = (self.tasks * self.episodes, gym.spaces.flatdim(self.envs.single_observation_space))
        if np.shape(observation) != expected:
            raise SimulationError(f"reset must return observations of shape {expected}, got {np.shape(observation)}.")
        self._require_finite(observation, tasks, 0, "the first observation")
        return np.asarray(observation)

    def _restart(self, over: np.ndarray, t: int) -> None:
        """Starts ended episodes again: their data no longer count, but a vector steps only what has been reset."""
        options = {"reset_mask": over}
        self._attempt(f"at the reset after time step {t}", lambda: self.envs.reset(options=options))

    def _step(self, action: Tensor, alive: np.ndarray, tasks: Sequence[Task], t: int) -> tuple[Any, ...]:
        flat = action.reshape(self.tasks * self.episodes, *action.shape[2:]).cpu().numpy()
        if self._first_action is not None:
            flat = flat + self._first_action
        observation, reward, ended, cut, about = self._attempt(f"at time step {t}", lambda: self.envs.step(flat))
        for name, value in (("rewards", reward), ("terminated", ended), ("truncated", cut)):
            if np.shape(value) != alive.shape:
                raise SimulationError(f"step must return {name} of shape {alive.shape}, got {np.shape(value)}.")
        if not alive.all():  # what an environment does after its episode is nobody's data, finite or not
            observation, reward = np.where(alive[:, None], observation, 0.0), np.where(alive, reward, 0.0)
        self._require_finite(observation, tasks, t, "the observation")
        self._require_finite(reward, tasks, t, "the reward")
        success = about.get("success")
        if success is not None:
            success = self._attempt(f"at time step {t} (success)", lambda: np.asarray(success, float) > 0)
        return observation, reward, ended, cut, success

    @staticmethod
    def _attempt(when: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(".")
            raise SimulationError(f"the environment failed {when}: {reason}.") from error

    def _require_finite(
        self,
        values: Any,
        tasks: Sequence[Task],
        t: int,
        what: str,
        raises: type[Exception] = SimulationError,
    ) -> None:
        # One sum is much cheaper than a test of every entry, and is finite only if all of them are.
        if np.isfinite(float(values.sum())):
            return
        host = np.asarray(values.cpu() if isinstance(values, Tensor) else values).reshape(self.tasks, -1)
        bad = np.argwhere(~np.isfinite(host))
        if len(bad):
            task, entry = (int(index) for index in bad[0])
            episode = entry * self.episodes // host.shape[1]
            raise raises(f"task {task} {tasks[task]}, episode {episode}, time step {t}: {what} is not a finite number.")


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keeps torch's threads, which spin while they wait, off the cores that simulate: a third faster on two cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _child(seed: SeedSequence, index: int) -> SeedSequence:
    """A child that does not change its parent, unlike `SeedSequence.spawn`."""
    return SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index))
