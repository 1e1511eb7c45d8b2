"""N learners in their environments: what they live through next, from where they stand."""

from collections.abc import Sequence

from maml_rl.core.estimators import Lifetimes, present
from maml_rl.core.types import Memory, Meta
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.online.collect import Collector, Window
from maml_rl.rl.online.learner import OnlineLearner
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import StepSeeds

__all__ = ["Lives"]


class Lives:
    """Learners that act and learn. Nothing of where they stand is kept here between two calls.

    Environments that cannot be stored (see `HasSnapshots`) begin new episodes in each window.

    Args:
        learner: who learns.
        lifetimes: N of them.
        sampler: N x E environments.
        tasks: of each lifetime, N.
        rollout: T, steps between two updates.
    """

    def __init__(
        self, learner: OnlineLearner, lifetimes: Lifetimes, sampler: Sampler, tasks: Sequence[Task], rollout: int
    ) -> None:
        self.sampler, self.tasks = sampler, tasks
        self.collector = Collector(learner, lifetimes, sampler, rollout)
        self._present = present(learner.problem(), lifetimes)

    def window(
        self, theta: Meta, memory: Memory, environments: str, seeds: StepSeeds, rollouts: int
    ) -> tuple[Window, str]:
        """The next K rollouts, and where the environments stand behind them.

        Args:
            theta: the meta-parameters.
            memory: an estimator's, with where the learners are.
            environments: of the window before, as text; empty where episodes are to begin.
            seeds: ``seeds(k)`` of the k-th rollout, counted from 1, one for each lifetime; of a beginning at 0.
            rollouts: K.

        Raises:
            SimulationError: see `Sampler.rollout`.
        """
        actor, sampler = self.collector.actor, self.sampler
        if environments:
            standing = sampler.restored(environments, (), self.tasks)
        else:
            standing = sampler.start(actor, self.tasks, seeds(0))
        carry = self._present(theta, memory)
        window = self.collector.collect(theta, carry, memory["step"], standing, seeds, rollouts)
        return window, sampler.stored(window.environments)
