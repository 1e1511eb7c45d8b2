"""Adapted policies in use: who acts in a film after each number of gradient steps, and models for Stable-Baselines3."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from maml_rl.core.types import Params
from maml_rl.rl.collect import Collected
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.environments.vector import EnvironmentConfig, horizon_of, make_vector
from maml_rl.rl.policies import Policy, PolicyConfig, without_context
from maml_rl.rl.sampling.actors import Player, memoryless
from maml_rl.systems.system import Exported, Scene, State

__all__ = ["AdaptedExporter", "AdaptedRenderer"]


class _Adapts(Protocol):
    def __call__(
        self, state: State, steps: int, seed: int, tasks: int | Sequence[Task], episodes: int
    ) -> tuple[list[Task], Collected]:
        """Adapts to tasks: see `MetaPolicySystem.adapt_held_out`."""


@dataclass(frozen=True)
class AdaptedRenderer:
    """Films policies after numbers of gradient steps (see `maml_rl.systems.system.Renderer`).

    Attributes:
        environment: of held-out tasks.
        default_steps: numbers of gradient steps that are filmed where nothing is said.
        policy: who acts.
        adapts: how it adapts.
        episodes: per gradient step, where nothing is said.
        axis: what steps of adaptation are called.
    """

    environment: EnvironmentConfig
    default_steps: Sequence[int]
    policy: Policy
    adapts: _Adapts
    episodes: int
    axis: str = "gradient steps"

    def scenes(
        self, state: State, steps: Sequence[int], tasks: int | Sequence[Task], episodes: int | None, seed: int
    ) -> list[Scene]:
        """Adapts to the tasks."""
        drawn, collected = self.adapts(state, max(steps), seed, tasks, episodes or self.episodes)
        actor = memoryless(self.policy)
        return [
            Scene(task, [(step, Player(actor, _of_task(collected.params(step), index))) for step in sorted(set(steps))])
            for index, task in enumerate(drawn)
        ]


@dataclass(frozen=True)
class AdaptedExporter:
    """Exports policies after gradient steps (see `maml_rl.systems.system.Exporter`).

    Attributes:
        environment: of held-out tasks.
        default_steps: gradient steps where nothing is said.
        policy: its configuration.
        begins: the parameters before adaptation, of a state.
        adapts: how it adapts.
        episodes: per gradient step, where nothing is said.
    """

    environment: EnvironmentConfig
    default_steps: int
    policy: PolicyConfig
    begins: Callable[[State], Params]
    adapts: _Adapts
    episodes: int

    def export(self, state: State, task: Task | None, steps: int, episodes: int | None, seed: int) -> Exported:
        """A PPO model of the policy after `steps` steps on the task, or before adaptation where there is none."""
        try:
            from maml_rl.sb3.policy import to_ppo
            from maml_rl.sb3.vec_env import TaskVecEnv
        except ImportError:
            raise ValueError("exporting needs the extra 'sb3': pip install 'maml_rl[sb3]'.") from None
        params, returns = self.begins(state), list[float]()
        if task is not None:
            _, collected = self.adapts(state, steps, seed, [task], episodes or self.episodes)
            params = _of_task(collected.params(steps), 0)
            returns = [float(trajectories.returns.mean()) for trajectories in collected.trajectories]
        envs = make_vector(self.environment, 1)
        env = TaskVecEnv(envs, task, seed)
        try:
            return Exported(
                to_ppo(self.policy, without_context(params), env), returns, horizon_of(self.environment, envs)
            )
        finally:
            env.close()


def _of_task(params: Params, index: int) -> Params:
    return {name: leaf[index] for name, leaf in params.items()}
