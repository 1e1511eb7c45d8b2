"""The next rollouts of learners that never start afresh: each learns from one before it acts in the next."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree

from maml_rl.core.estimators import Carry, Lifetimes
from maml_rl.core.tree import map_tree, select
from maml_rl.core.types import Memory, Meta
from maml_rl.rl.online.actor_critic import Experience, experience_of
from maml_rl.rl.online.learner import OnlineLearner
from maml_rl.rl.sampling import sampler as sampling
from maml_rl.rl.sampling.actors import Actor, memoryless
from maml_rl.rl.sampling.seeds import StepSeeds

__all__ = ["Collector", "Window"]


class Window(NamedTuple):
    """What N lifetimes lived through in K rollouts.

    Attributes:
        data: `Experience` [N, K, E, T, ...] a part.
        last: the carry that acted in the last rollout, [N, ...] a leaf.
        finite: which lifetimes had finite updates only, [N].
        environments: where the environments stand.
    """

    data: Experience
    last: Carry
    finite: Tensor
    environments: sampling.Carry


class Collector:
    """Collects rollouts without a graph; an estimator learns the same once more, with derivatives.

    A learner whose update is not finite goes on acting as before it. The estimator comes to the same update and begins
    that lifetime anew, so only its own data are lost.

    Args:
        learner: who learns.
        lifetimes: N of them.
        sampler: their environments, E each.
        steps: T, of a rollout.
    """

    def __init__(self, learner: OnlineLearner, lifetimes: Lifetimes, sampler: sampling.Sampler, steps: int) -> None:
        self.sampler, self._learner, self._steps = sampler, learner, steps
        self.actor: Actor = memoryless(learner.agent.policy)
        self._learn: Callable[..., tuple[Carry, Tensor]] = lifetimes.mapped(self._one)

    def collect(
        self,
        theta: Meta,
        carry: Carry,
        step: Tensor,
        environments: sampling.Carry,
        seeds: StepSeeds,
        rollouts: int,
    ) -> Window:
        """K rollouts, with an update by each but the last.

        Args:
            theta: the meta-parameters.
            carry: the learners, [N, ...] a leaf.
            step: how many updates each has had, [N].
            environments: where they stand.
            seeds: ``seeds(k)`` of the k-th rollout, counted from 1, one for each lifetime.
            rollouts: K.

        Raises:
            SimulationError: see `Sampler.rollout`.
        """
        collected: list[Experience] = []
        healthy = torch.ones_like(step, dtype=torch.bool)
        for index in range(rollouts):
            if index:
                learned, finite = self._learn(theta, carry, collected[-1], step + (index - 1))
                carry = learned if bool(finite.all()) else select(finite, learned, carry)
                healthy = healthy & finite
            actor = self._learner.agent.actor(carry["params"])
            rollout, environments = self.sampler.rollout(self.actor, actor, environments, seeds(index + 1), self._steps)
            collected.append(experience_of(rollout))
        data = _pytree.tree_map(lambda *parts: torch.stack(parts, 1), *collected)
        return Window(data, carry, healthy, environments)

    def lived_on(self, theta: Meta, memory: Memory, window: Window) -> tuple[Memory, Tensor]:
        """The memory of an estimator that estimates nothing: lifetimes go on under a theta that stays as it is.

        Returns:
            The memory, and which lifetimes had finite updates only, [N]; the others begin anew with their seeds.
        """
        rollouts = window.data.rewards.shape[1]
        final = map_tree(lambda leaf: leaf[:, -1], window.data)
        carry, finite = self._learn(theta, window.last, final, memory["step"] + (rollouts - 1))
        finite = finite & window.finite
        step = torch.where(finite, memory["step"] + rollouts, torch.zeros_like(memory["step"]))
        return {**memory, "carry": carry, "step": step}, finite

    def _one(self, theta: Meta, carry: Carry, data: Experience, k: Tensor) -> tuple[Carry, Tensor]:
        """The learner after an update, and whether its parameters and what it is about to do are finite."""
        learned = self._learner.learn(theta, carry, data, k)
        told = (learned["params"], learned["memory"], learned["outlook"])
        sums = [leaf.sum() for leaf in _pytree.tree_leaves(told)]  # finite only if all entries are
        return learned, torch.stack(sums).isfinite().all()
