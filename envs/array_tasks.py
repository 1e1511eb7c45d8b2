"""Task distributions whose dynamics are array functions of their own: a distribution and its simulator."""

from dataclasses import dataclass

from envs.single_env import SingleTaskEnv
from envs.task_distribution import Simulator, TaskDistribution
from envs.vector_env import NativeTaskVectorEnv

__all__ = ["ArrayTask"]


@dataclass(frozen=True)
class ArrayTask:
    """A task distribution and its dynamics.

    Attributes:
        distribution: spaces, ranges of the task's parameters, observation, reward and termination.
        simulator: the dynamics of n environments.
    """

    distribution: TaskDistribution
    simulator: Simulator

    def single(self, render_mode: str | None = None) -> SingleTaskEnv:
        """One environment.

        Raises:
            ValueError: another render mode than None and "rgb_array".
        """
        return SingleTaskEnv(self.distribution, self.simulator, render_mode)

    def vector(self, num_envs: int, max_episode_steps: int | None = None) -> NativeTaskVectorEnv:
        """`num_envs` environments that step at once; `max_episode_steps` is a shorter horizon.

        Raises:
            ValueError: a number out of range.
        """
        return NativeTaskVectorEnv(self.distribution, self.simulator, num_envs, max_episode_steps)
