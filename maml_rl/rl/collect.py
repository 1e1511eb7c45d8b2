"""Collect, then differentiate: the trajectories of every inner step, gathered without a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, NamedTuple

import torch
from numpy.random import SeedSequence

from maml_rl.core.adapt import adapt
from maml_rl.core.tree import expand
from maml_rl.core.types import InnerState, Params, Rule
from maml_rl.rl import baselines
from maml_rl.rl.advantages import discounted_returns, generalised_advantages, normalise
from maml_rl.rl.losses import RLBatch, reinforce, sample_weights
from maml_rl.rl.policies import Policy
from maml_rl.rl.sampler import Sampler
from maml_rl.rl.tasks import Task
from maml_rl.rl.trajectories import Trajectories

__all__ = ["Collected", "EstimatorConfig", "adapt_tasks", "collect", "prepare"]


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
    """

    discount: float = 0.99
    gae_lambda: float = 1.0
    weighting: Literal["steps", "episodes"] = "steps"
    time_limit: Literal["terminal", "bootstrap"] = "terminal"
    ridge: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, got {getattr(self, name)}.")
        if not self.ridge > 0:
            raise ValueError(f"`ridge` must be positive, got {self.ridge}.")


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


def prepare(trajectories: Trajectories, config: EstimatorConfig) -> RLBatch:
    """Fits the baseline on each task's episodes, and turns them into weighted samples with advantages.

    The baseline is fitted to the episodes that it then predicts, per task; advantages are normalised per task.
    """
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
    weights = baselines.fit_linear_baseline(inputs, targets.view(tasks, -1), mask.view(tasks, -1), config.ridge, behind)
    values = baselines.predict(weights, inputs).view_as(rewards)
    after = baselines.predict(weights, closing)
    advantages = generalised_advantages(rewards, values, mask, after, config.discount, config.gae_lambda)
    kind = trajectories.rewards.dtype
    flat = {
        "observations": trajectories.observations,
        "actions": trajectories.actions,
        "weights": sample_weights(mask, config.weighting).to(kind),
        "log_probs": trajectories.log_probs,
    }
    return RLBatch(
        **{name: value.flatten(1, 2) for name, value in flat.items()},
        advantages=normalise(advantages.flatten(1), mask.flatten(1)).to(kind),
    )


@torch.no_grad()
def adapt_tasks(policy: Policy, params: Params, batch: RLBatch, rule: Rule, step: int, meta: Any = None) -> Params:
    """One inner step of every task, without a graph: [N, ...] leaves in, [N, ...] leaves out."""

    def one_task(start: Params, data: RLBatch) -> Params:
        path = adapt(InnerState(start), [data], reinforce(policy), rule, meta, first_step=step)
        return path[-1].params

    return torch.func.vmap(one_task)(params, batch)  # type: ignore[no-any-return]


def collect(
    sampler: Sampler,
    policy: Policy,
    start: Params,
    tasks: Sequence[Task],
    seeds: Callable[[int], list[SeedSequence]],
    rule: Rule,
    steps: int,
    estimator: EstimatorConfig,
    progress: Callable[[], Any] | None = None,
) -> Collected:
    """Samples, adapts, samples again, K times: fresh trajectories at each of the K + 1 points.

    Args:
        sampler: of as many tasks as there are.
        policy: the policy.
        start: the parameters before adaptation, without a task dimension.
        tasks: N of them.
        seeds: ``seeds(k)`` are the tasks' seeds at inner step k.
        rule: the inner update rule.
        steps: K.
        estimator: how advantages are estimated.
        progress: called after each of the K + 1 points.
    """
    path = [expand(start, len(tasks))]
    trajectories: list[Trajectories] = []
    batches: list[RLBatch] = []
    sampling = adaptation = 0.0
    for step in range(steps + 1):
        began = perf_counter()
        trajectories.append(sampler.sample(policy, path[-1], tasks, seeds(step)))
        sampled = perf_counter()
        batches.append(prepare(trajectories[-1], estimator))
        if step < steps:
            path.append(adapt_tasks(policy, path[-1], batches[-1], rule, step))
        sampling += sampled - began
        adaptation += perf_counter() - sampled
        if progress is not None:
            progress()
    return Collected(trajectories, batches, path, sampling, adaptation)
