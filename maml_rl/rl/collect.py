"""Collect, then differentiate: the trajectories of every inner step, gathered without a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, NamedTuple

import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.tree import expand, map_tree
from maml_rl.core.types import Params
from maml_rl.rl import baselines
from maml_rl.rl.advantages import discounted_returns, generalised_advantages, normalise
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.losses import RLBatch, sample_weights
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.sampler import Sampler
from maml_rl.rl.trajectories import Trajectories

__all__ = [
    "Collected",
    "EstimatorConfig",
    "adapt_tasks",
    "collect",
    "pooled_baseline",
    "prepare",
    "sampling_credits",
]


@dataclass(frozen=True)
class EstimatorConfig:
    """How advantages are estimated from trajectories.

    Attributes:
        discount: gamma.
        gae_lambda: lambda of generalised advantage estimation; 1 is the Monte Carlo return minus the baseline.
        weighting: "steps" averages over all time steps, "episodes" per episode and then over episodes.
        time_limit: "terminal" puts the value 0 behind the horizon, "bootstrap" the baseline's prediction, there and in
            what the baseline is fitted to.
        ridge: first regulariser of the linear baseline.
        baseline: "fitted" to the task's own episodes, which it then predicts (Finn et al., 2017); "learned" across
            tasks on the episodes of the iteration before, one for each inner step, so that it does not depend on the
            episodes that it is subtracted from; "none" for zero.
        normalise: whether each task's advantages are shifted and scaled to mean 0 and deviation 1 (all public codes).
            Without it the inner rate is one for returns as they are.
    """

    discount: float = 0.99
    gae_lambda: float = 1.0
    weighting: Literal["steps", "episodes"] = "steps"
    time_limit: Literal["terminal", "bootstrap"] = "terminal"
    ridge: float = 1e-5
    baseline: Literal["fitted", "learned", "none"] = "fitted"
    normalise: bool = True

    def __post_init__(self) -> None:
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`estimator.{name}` must be between 0 and 1, got {getattr(self, name)}.")
        if self.baseline == "none" and (self.time_limit == "bootstrap" or self.gae_lambda < 1):
            raise ValueError(
                "`estimator.baseline` 'none' predicts nothing: it goes with `estimator.time_limit` 'terminal' and "
                "`estimator.gae_lambda` 1."
            )
        if not self.ridge > 0:
            raise ValueError(f"`estimator.ridge` must be positive, got {self.ridge}.")


class Collected(NamedTuple):
    """What one meta-iteration gathered.

    Attributes:
        trajectories: of each point of the path, K + 1.
        batches: the same data as the losses read it, K + 1.
        path: the parameters at each point, K + 1, [N, ...] a leaf.
        sampling_s: seconds spent in the sampler.
        adaptation_s: seconds spent on advantages and inner steps.
    """

    trajectories: list[Trajectories]
    batches: list[RLBatch]
    path: list[Params]
    sampling_s: float
    adaptation_s: float


class _Regression(NamedTuple):
    """What a linear baseline is fitted to, one row a time step: [N, S, F], [N, S], [N, S], and [N, E, F] or None."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    closing: Tensor
    behind: Tensor | None

    def fit(self, ridge: float) -> Tensor:
        """Weights [N, F] of each task."""
        return baselines.fit_linear_baseline(self.inputs, self.targets, self.mask, ridge, self.behind)


def prepare(trajectories: Trajectories, config: EstimatorConfig, baseline: Tensor | None = None) -> RLBatch:
    """Turns each task's episodes into weighted samples with advantages over a baseline.

    Advantages are normalised per task, if the configuration says so.

    Args:
        trajectories: of N tasks.
        config: how advantages are estimated.
        baseline: weights of the learned one, [F]; zero where nothing is given.
    """
    rewards, mask = trajectories.rewards.double(), trajectories.mask.double()
    data = _regression(trajectories, config)
    if config.baseline == "fitted":
        weights = data.fit(config.ridge)
    else:
        size = data.inputs.shape[-1]
        fixed = torch.zeros(size, dtype=torch.float64, device=rewards.device) if baseline is None else baseline
        weights = fixed.expand(len(rewards), size)
    values = baselines.predict(weights, data.inputs).view_as(rewards)
    after = baselines.predict(weights, data.closing)
    found = generalised_advantages(rewards, values, mask, after, config.discount, config.gae_lambda)
    advantages, scale = found.flatten(1), torch.ones_like(found[:, 0, 0])
    if config.normalise:
        advantages, scale = normalise(advantages, mask.flatten(1))
    kind = trajectories.rewards.dtype
    flat = {
        "observations": trajectories.observations,
        "actions": trajectories.actions,
        "weights": sample_weights(mask, config.weighting).to(kind),
        "log_probs": trajectories.log_probs,
    }
    return RLBatch(
        **{name: value.flatten(1, 2) for name, value in flat.items()},
        advantages=advantages.to(kind),
        lengths=mask.sum(-1).to(kind),
        scale=scale.to(kind),
    )


def pooled_baseline(trajectories: Trajectories, config: EstimatorConfig) -> Tensor:
    """Weights of one baseline for the episodes of all tasks together, [F], float64."""
    data = _regression(trajectories, config)
    return map_tree(lambda part: part.flatten(0, 1)[None], data).fit(config.ridge)[0]


def sampling_credits(trajectories: Trajectories, batch: RLBatch, discount: float) -> Tensor:
    """(R_i - mean of the other tasks' R) / (T sigma) of each task, [N] (E-MAML, Stadie et al., 2018, equation 3).

    R_i is the mean discounted return after adaptation, and what it is held against does not depend on the task's own
    samples. T is the mean length of the episodes and sigma the mean over tasks of what advantages were divided by: the
    units of a surrogate that averages normalised advantages over time steps.

    Args:
        trajectories: of the adapted policies.
        batch: the same, prepared.
        discount: gamma.
    """
    returns = discounted_returns(trajectories.rewards.double(), discount)[..., 0].mean(-1)
    count = len(returns)
    others = (returns.sum() - returns) / max(count - 1, 1)
    units = batch.lengths.double().mean() * batch.scale.double().mean()
    return ((returns - others * (count > 1)) / units).to(batch.weights.dtype)


def _regression(trajectories: Trajectories, config: EstimatorConfig) -> _Regression:
    rewards, mask = trajectories.rewards.double(), trajectories.mask.double()
    tasks, episodes, steps = rewards.shape
    times = torch.arange(steps, device=rewards.device)
    inputs = baselines.features(trajectories.observations, times).view(tasks, episodes * steps, -1)
    targets = discounted_returns(rewards, config.discount)
    closing = torch.zeros_like(inputs.view(tasks, episodes, steps, -1)[:, :, 0])
    behind = None
    if config.time_limit == "bootstrap":
        lengths = mask.sum(-1)
        closing = baselines.features(trajectories.last_observations, lengths)
        closing = closing * (~trajectories.terminated)[..., None]
        remaining = (lengths[..., None] - times).clamp(min=0)
        behind = (config.discount ** remaining[..., None] * closing[:, :, None]).view_as(inputs)
    return _Regression(inputs, targets.view(tasks, -1), mask.view(tasks, -1), closing, behind)


@torch.no_grad()
def adapt_tasks(learner: PolicyLearner, params: Params, batch: RLBatch, rates: Params | None, step: int) -> Params:
    """One inner step of every task, without a graph: [N, ...] leaves in, [N, ...] leaves out.

    Args:
        learner: how the policy adapts.
        params: of each task.
        batch: of each task.
        rates: learned ones that all tasks share, if any.
        step: which inner step.
    """
    return torch.func.vmap(lambda start, data: learner.step(start, data, rates, step))(params, batch)  # type: ignore[no-any-return]


def collect(
    sampler: Sampler,
    learner: PolicyLearner,
    theta: Params,
    tasks: Sequence[Task],
    seeds: Callable[[int], list[SeedSequence]],
    steps: int,
    estimator: EstimatorConfig,
    baseline: Tensor | None = None,
    progress: Callable[[], Any] | None = None,
) -> Collected:
    """Samples, adapts, samples again, K times: fresh trajectories at each of the K + 1 points.

    Args:
        sampler: of as many tasks as there are.
        learner: the policy and how it adapts.
        theta: meta-parameters: the policy's before adaptation, without a task dimension, and learned rates.
        tasks: N of them.
        seeds: ``seeds(k)`` are the tasks' seeds at inner step k.
        steps: K.
        estimator: how advantages are estimated.
        baseline: weights of a learned one at each point, [at least 1, F]; the last goes on.
        progress: called after each of the K + 1 points.
    """
    start, rates = learner.begin(theta)
    path = [expand(start, len(tasks))]
    trajectories: list[Trajectories] = []
    batches: list[RLBatch] = []
    sampling = adaptation = 0.0
    for step in range(steps + 1):
        began = perf_counter()
        trajectories.append(sampler.sample(learner.policy, path[-1], tasks, seeds(step)))
        sampled = perf_counter()
        fixed = None if baseline is None else baseline[min(step, len(baseline) - 1)]
        batches.append(prepare(trajectories[-1], estimator, fixed))
        if step < steps:
            path.append(adapt_tasks(learner, path[-1], batches[-1], rates, step))
        sampling += sampled - began
        adaptation += perf_counter() - sampled
        if progress is not None:
            progress()
    return Collected(trajectories, batches, path, sampling, adaptation)
