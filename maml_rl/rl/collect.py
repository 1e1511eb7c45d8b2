"""Collect, then differentiate: the trajectories of every inner step, gathered without a graph."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.tree import expand
from maml_rl.core.types import InnerState, Meta, Params
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.estimation import EstimatorConfig, prepare
from maml_rl.rl.losses import RLBatch
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.sampling.actors import memoryless
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import StepSeeds
from maml_rl.rl.sampling.trajectories import Trajectories

__all__ = ["Collected", "adapt_tasks", "collect"]


class Collected(NamedTuple):
    """What one meta-iteration gathered.

    Attributes:
        trajectories: of each point of the path, K + 1.
        batches: the same data as the losses read it, K + 1.
        path: the learner's state at each point, K + 1, [N, ...] a leaf.
        horizon: steps after which every episode ends.
        sampling_s: seconds spent in the sampler.
        adaptation_s: seconds spent on advantages and inner steps.
    """

    trajectories: list[Trajectories]
    batches: list[RLBatch]
    path: list[InnerState]
    horizon: int
    sampling_s: float
    adaptation_s: float

    def params(self, point: int) -> Params:
        """The policies' parameters at a point of the path, [N, ...] a leaf."""
        return self.path[point].params


@torch.no_grad()
def adapt_tasks(learner: PolicyLearner, states: InnerState, batch: RLBatch, meta: Meta, step: int) -> InnerState:
    """One inner step of every task, without a graph: [N, ...] leaves in, [N, ...] leaves out.

    Args:
        learner: how the policy adapts.
        states: of each task.
        batch: of each task.
        meta: meta-parameters that all tasks share.
        step: which inner step.
    """
    return torch.func.vmap(lambda state, data: learner.step(state, data, meta, step))(states, batch)  # type: ignore[no-any-return]


def collect(
    sampler: Sampler,
    learner: PolicyLearner,
    meta: Meta,
    tasks: Sequence[Task],
    seeds: StepSeeds,
    steps: int,
    estimator: EstimatorConfig,
    baseline: Tensor | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Collected:
    """Samples, adapts, samples again, K times: fresh trajectories at each of the K + 1 points.

    Args:
        sampler: of as many tasks as there are.
        learner: the policy and how it adapts.
        meta: meta-parameters, without a task dimension.
        tasks: N of them.
        seeds: the tasks' seeds at each inner step.
        steps: K.
        estimator: how advantages are estimated.
        baseline: weights of a learned one at each point, [at least 1, F]; the last goes on.
        progress: called after each of the K + 1 points.
    """
    actor = memoryless(learner.policy)
    path = [expand(learner.begin(meta), len(tasks))]
    trajectories: list[Trajectories] = []
    batches: list[RLBatch] = []
    sampling = adaptation = 0.0
    for step in range(steps + 1):
        began = perf_counter()
        episodes, _ = sampler.sample(actor, path[-1].params, tasks, seeds(step))
        sampled = perf_counter()
        weights = None if baseline is None else baseline[min(step, len(baseline) - 1)]
        trajectories.append(episodes)
        batches.append(prepare(episodes, estimator, weights))
        if step < steps:
            path.append(adapt_tasks(learner, path[-1], batches[-1], meta, step))
        sampling += sampled - began
        adaptation += perf_counter() - sampled
        if progress is not None:
            progress(step + 1, steps + 1)
    return Collected(trajectories, batches, path, sampler.stepper.horizon, sampling, adaptation)
