"""Episodes of all tasks in lockstep, under one policy with parameters of its own for each task."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import PCG64, Generator, SeedSequence
from torch import Tensor

from maml_rl.core.tree import map_tree, select
from maml_rl.core.types import Memory, Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.environments.task_env import HasSnapshots, Task
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.sampling.actors import Actor
from maml_rl.rl.sampling.array_text import array_text, arrays_of_text
from maml_rl.rl.sampling.compiled_rollouts import CompiledRollouts
from maml_rl.rl.sampling.episode_record import EpisodeRecord, Layout, log_probs_of
from maml_rl.rl.sampling.seeds import ACTIONS, child_seed
from maml_rl.rl.sampling.stepping import Stepped, Stepper
from maml_rl.rl.sampling.trajectories import Rollout, Trajectories

__all__ = ["Carry", "Sampler"]

_LONGEST_EPISODE = 10**7  # steps; environments that never end name a horizon far beyond it


class Carry(NamedTuple):
    """Where rollouts stand. The environments themselves stay in the sampler, so a carry can be gone on from once.

    Attributes:
        observations: of the next step, [B, O].
        memory: the actor's.
        elapsed: steps since each episode's start, [B].
        tasks: N of them.
    """

    observations: np.ndarray
    memory: Memory
    elapsed: np.ndarray
    tasks: Sequence[Task]


class Sampler:
    """A vector of `tasks * episodes` environments and the loops that step them.

    Args:
        config: the environment.
        tasks: N.
        episodes: E, episodes per task and call.
        device: where the policy runs and where trajectories end up.
        dtype: of the trajectories.
        compiled: whether rollouts are compiled (see `CompiledRollouts`).

    Raises:
        EnvironmentError: see `make_vector`.
        ValueError: `compiled`, and the environment is not a function of tensors without end.
    """

    def __init__(
        self,
        config: EnvironmentConfig,
        tasks: int,
        episodes: int,
        device: torch.device,
        dtype: torch.dtype,
        compiled: bool = False,
    ) -> None:
        self.tasks, self.episodes, self.device, self.dtype = tasks, episodes, device, dtype
        self.stepper = Stepper(config, tasks, episodes)
        self._layout = Layout(tasks, episodes, device, dtype)
        self.compiled = compiled
        self._rollouts = CompiledRollouts(self.stepper, self._layout) if compiled else None

    @torch.no_grad()
    def sample(
        self,
        actor: Actor,
        params: Params,
        tasks: Sequence[Task],
        seeds: Sequence[SeedSequence],
        memory: Memory | None = None,
    ) -> tuple[Trajectories, Memory]:
        """Runs E episodes of each task.

        What happens in a task depends on its own seed alone: up to rounding, not on how many others run beside it.
        Where an episode ends early the actor's memory stays as it was after its last step.

        Args:
            actor: who acts.
            params: its parameters, [N, ...] a leaf, or without the leading dimension where all tasks share them.
            tasks: N of them.
            seeds: one for each task (see `task_seeds`).
            memory: the actor's, of an episode before; a new one where nothing is given.

        Returns:
            The episodes, and the actor's memory after each one's last step.

        Raises:
            SimulationError: an environment raised or returned a non-finite number; the message names the task.
            ValueError: the environment never ends.
        """
        if self.stepper.horizon > _LONGEST_EPISODE:
            raise ValueError(
                f"whole episodes need a horizon of at most {_LONGEST_EPISODE:,} steps, got {self.stepper.horizon:,}. "
                "Set environment.max_episode_steps, or take steps by `rollout`, which goes on where it ended."
            )
        with _one_torch_thread():
            stepper = self.stepper
            noise = self._draw_noise(actor, seeds, stepper.horizon)
            record = EpisodeRecord(self._layout, stepper.horizon, stepper.reset(tasks, seeds))
            memory = actor.begin_episode(self._begin(actor) if memory is None else memory)
            while record.alive.any():
                time, alive = record.time, record.alive
                distribution, actions, ahead = self._act(
                    actor, params, memory, record.observations[time], noise[time], tasks, time
                )
                step = stepper.step(actions, alive, tasks, time)
                rewards = self._layout.flat(np.asarray(step.rewards, float))
                memory = self._where(alive, actor.remember(ahead, actions, rewards), memory)
                over = record.add(distribution, actions, step)
                if over.any() and record.alive.any():
                    stepper.restart(over, time)  # a vector steps only what has been reset, also behind an episode's end
                    record.observations[time + 1][~record.alive] = 0.0
            return record.trajectories(), memory

    def start(self, actor: Actor, tasks: Sequence[Task], seeds: Sequence[SeedSequence]) -> Carry:
        """Starts an episode in every environment, for `rollout`."""
        memory = actor.begin_episode(self._begin(actor))
        return Carry(self.stepper.reset(tasks, seeds), memory, np.zeros(self.stepper.count, int), tasks)

    def stored(self, carry: Carry) -> str:
        """Where rollouts stand, with the environments, as text; empty where environments cannot be stored.

        The memory of the actor and the tasks are not in it.
        """
        envs = self.stepper.envs
        if not (isinstance(envs, HasSnapshots) and isinstance(getattr(envs, "unwrapped", envs), HasSnapshots)):
            return ""
        return array_text({**envs.snapshot(), "observations": carry.observations, "since_start": carry.elapsed})

    def restored(self, stored: str, memory: Memory, tasks: Sequence[Task]) -> Carry:
        """Goes on where `stored` was taken, with the actor's memory and the tasks of then."""
        arrays = arrays_of_text(stored)
        observations, elapsed = arrays.pop("observations"), arrays.pop("since_start")
        self.stepper.restore(tasks, arrays)
        return Carry(observations, memory, elapsed, tasks)

    @torch.no_grad()
    def rollout(
        self, actor: Actor, params: Params, carry: Carry, seeds: Sequence[SeedSequence], steps: int
    ) -> tuple[Rollout, Carry]:
        """Goes on for `steps` steps where the last rollout ended; episodes that end begin again at once.

        Args:
            actor: who acts.
            params: its parameters, as in `sample`.
            carry: of `start` or of the rollout before.
            seeds: of the actions, one for each task.
            steps: T.

        Raises:
            SimulationError: see `sample`.
            ValueError: the sampler is compiled, and the actor has a memory.
        """
        layout, stepper = self._layout, self.stepper
        noise = self._draw_noise(actor, seeds, steps)
        observations, memory, elapsed, tasks = carry
        if self._rollouts is not None:
            if memory != ():
                raise ValueError("compiled rollouts are for actors without a memory.")
            rollout, following = self._rollouts.rollout(actor, params, observations, elapsed, noise, tasks)
            return rollout, Carry(following, memory, elapsed + steps, tasks)
        rows, everywhere = _RolloutRows(steps, observations.shape, layout.numpy_type()), np.ones(stepper.count, bool)
        with _one_torch_thread():
            for time in range(steps):
                rows.observations[time] = observations  # a copy: a vector may write into its arrays again
                distribution, actions, ahead = self._act(
                    actor, params, memory, rows.observations[time], noise[time], tasks, time
                )
                step = stepper.step(actions, everywhere, tasks, time)
                rows.episode_starts[time], elapsed = elapsed == 0, elapsed + 1
                over = step.terminated | step.truncated | (elapsed >= stepper.horizon)
                rows.add(time, distribution, actions, step, over)
                memory = actor.remember(ahead, actions, layout.flat(rows.rewards[time]))
                observations = step.observations
                if over.any():
                    observations = np.where(over[:, None], stepper.restart(over, time), observations)
                    memory, elapsed = self._where(over, actor.begin_episode(memory), memory), np.where(over, 0, elapsed)
        return rows.rollout(layout), Carry(np.array(observations), memory, elapsed, tasks)

    def close(self) -> None:
        """Closes the environments."""
        self.stepper.close()

    def _act(
        self,
        actor: Actor,
        params: Params,
        memory: Memory,
        observations: np.ndarray,
        noise: Tensor,
        tasks: Sequence[Task],
        time: int,
    ) -> tuple[Distribution, Tensor, Memory]:
        """What the actor does at observations [B, O]: the distribution, a sample of it, and the memory behind it."""
        with torch.inference_mode():  # less to do for each operation than without gradients
            seen = torch.from_numpy(observations).view(self.tasks, self.episodes, -1).to(self.device)
            distribution, ahead = actor.act(params, memory, seen)
            for part in distribution:
                self.stepper.require_finite(part, tasks, time, "the policy's output", FloatingPointError)
            actions = distribution.sample(noise)
        return distribution, actions.clone(), map_tree(Tensor.clone, ahead)  # what goes on may meet derivatives later

    def _begin(self, actor: Actor) -> Memory:
        return actor.begin((self.tasks, self.episodes), torch.zeros((), dtype=self.dtype, device=self.device))

    def _where(self, mask: np.ndarray, chosen: Memory, other: Memory) -> Memory:
        if mask.all():
            return chosen
        return select(torch.from_numpy(mask).to(self.device).view(self.tasks, self.episodes), chosen, other)

    def _draw_noise(self, actor: Actor, seeds: Sequence[SeedSequence], steps: int) -> Tensor:
        """[T, N, E, ...]: each task's noise from its own seed."""
        shape = (steps, self.episodes)
        drawn = [actor.draw_noise(Generator(PCG64(child_seed(seed, ACTIONS))), shape) for seed in seeds]
        return torch.from_numpy(np.stack(drawn, axis=1)).to(self.device, self.dtype)


class _RolloutRows:
    """Steps of a rollout in the making: arrays [T, B, ...], and in lists what comes as tensors."""

    def __init__(self, steps: int, shape: tuple[int, ...], numpy_type: type[np.floating[Any]]) -> None:
        self.observations, self.next_observations = (np.empty((steps, *shape), numpy_type) for _ in range(2))
        self.rewards = np.empty((steps, shape[0]))
        self.episode_starts, self.terminated, self.truncated = (np.empty((steps, shape[0]), bool) for _ in range(3))
        self.actions: list[Tensor] = []
        self.distributions: list[Distribution] = []

    def add(self, time: int, distribution: Distribution, actions: Tensor, step: Stepped, over: np.ndarray) -> None:
        self.distributions.append(distribution)
        self.actions.append(actions)
        self.next_observations[time], self.rewards[time] = step.observations, step.rewards
        self.terminated[time], self.truncated[time] = step.terminated, over & ~step.terminated

    def rollout(self, layout: Layout) -> Rollout:
        actions = torch.stack(self.actions)
        return Rollout(
            observations=layout.over_time(self.observations),
            next_observations=layout.over_time(self.next_observations),
            actions=layout.over_time(actions),
            rewards=layout.over_time(self.rewards),
            log_probs=layout.over_time(log_probs_of(self.distributions, actions)),
            episode_starts=layout.over_time(self.episode_starts),
            terminated=layout.over_time(self.terminated),
            truncated=layout.over_time(self.truncated),
        )


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keeps torch's threads, which spin while they wait, off the cores that simulate: a third faster on two cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
