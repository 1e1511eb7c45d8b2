"""From trajectories to weighted samples with advantages over a baseline, and E-MAML's credits."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.tree import map_tree
from maml_rl.rl import baselines
from maml_rl.rl.advantages import discounted_returns, generalised_advantages, normalise
from maml_rl.rl.losses import RLBatch, sample_weights
from maml_rl.rl.sampling.trajectories import Trajectories

__all__ = ["EstimatorConfig", "pooled_baseline", "prepare", "sampling_credits"]


@dataclass(frozen=True)
class EstimatorConfig:
    """How the policy gradient is estimated from trajectories.

    Attributes:
        loss: the estimator of the inner policy gradient, which differ in their second derivatives: "log_probability"
            (Finn et al., 2017), "likelihood_ratio" (the low-variance curvature of Rothfuss et al., 2019), "dice"
            (Foerster et al., 2018).
        discount: gamma.
        gae_lambda: lambda of generalised advantage estimation; 1 is the Monte Carlo return minus the baseline.
        weighting: "steps" averages over all time steps, "episodes" per episode and then over episodes.
        time_limit: "terminal" puts the value 0 behind the horizon, "bootstrap" the baseline's prediction, there and in
            what the baseline is fitted to.
        ridge: first regulariser of the linear baseline.
        baseline: "fitted" to the task's own episodes, which it then predicts (Finn et al., 2017); "learned" across
            tasks on the episodes of the iteration before, one for each inner step, so that it does not depend on the
            episodes that it is subtracted from; "none" for zero.
        normalise: whether each task's advantages are shifted and scaled to mean 0 and standard deviation 1 (all public
            codes). Without it the inner learning rate is one for returns as they are.
    """

    loss: Literal["log_probability", "likelihood_ratio", "dice"] = "log_probability"
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
    unscaled = generalised_advantages(rewards, values, mask, after, config.discount, config.gae_lambda)
    advantages, scale = unscaled.flatten(1), torch.ones_like(unscaled[:, 0, 0])
    if config.normalise:
        advantages, scale = normalise(advantages, mask.flatten(1))
    dtype = trajectories.rewards.dtype
    flat = {
        "observations": trajectories.observations,
        "actions": trajectories.actions,
        "weights": sample_weights(mask, config.weighting).to(dtype),
        "log_probs": trajectories.log_probs,
    }
    return RLBatch(
        **{name: value.flatten(1, 2) for name, value in flat.items()},
        advantages=advantages.to(dtype),
        lengths=mask.sum(-1).to(dtype),
        scale=scale.to(dtype),
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
