"""Proximal policy optimisation of a recurrent policy over whole trials (Schulman et al., 2017)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maml_rl.core.meta_optimisers import (
    AdamState,
    MetaOptimiser,
    Update,
    adam_start,
    adam_step,
    clip_norm,
)
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Meta, Params
from maml_rl.rl.advantages import discounted_returns, generalised_advantages, normalise
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.losses import clipped_gains
from maml_rl.rl.policy_learner import POLICY
from maml_rl.rl.recurrent.gru_policy import Output, RecurrentPolicy
from maml_rl.rl.recurrent.trials import Trials
from maml_rl.rl.updates.sampler_agreement import require_agreement

__all__ = ["PPOBatch", "PPOConfig", "PPOProblem", "PPOTerms", "ppo", "ppo_terms", "prepare_trials", "with_returns"]

_MEMORY = 20
"""Iterations that the running statistics of returns look back on."""


@dataclass(frozen=True)
class PPOConfig:
    """The update.

    Attributes:
        learning_rate: Adam's.
        epochs: how often the trials are gone through.
        minibatches: into which each epoch divides the trials.
        clip: how far the likelihood ratio may go from 1 before it earns nothing more (Schulman et al., 2017: 0.2).
        discount: gamma, over the whole trial: an episode's end within it is a step like any other (Schulman et al.,
            2017: 0.99).
        gae_lambda: lambda of generalised advantage estimation, over the whole trial as well (Schulman et al., 2017:
            0.95).
        value_weight: of the squared error of the value, in units of the returns' spread.
        entropy_weight: of the policy's entropy, as a bonus.
        max_norm: longest gradient; longer ones are scaled down to it.
        target_kl: ends the epochs when the policy is this far from the one that sampled; none goes through them all.
    """

    learning_rate: float = 2e-3
    epochs: int = 6
    minibatches: int = 2
    clip: float = 0.2
    discount: float = 0.99
    gae_lambda: float = 0.95
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    max_norm: float = 0.5
    target_kl: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "minibatches"):
            _require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        for name in ("learning_rate", "clip", "max_norm"):
            _require(name, 0 < getattr(self, name) < float("inf"), "positive and finite", getattr(self, name))
        for name in ("discount", "gae_lambda"):
            _require(name, 0 <= getattr(self, name) <= 1, "between 0 and 1", getattr(self, name))
        for name in ("value_weight", "entropy_weight"):
            _require(name, 0 <= getattr(self, name) < float("inf"), "finite and at least 0", getattr(self, name))
        _require("target_kl", self.target_kl is None or self.target_kl > 0, "positive", self.target_kl)


class PPOBatch(NamedTuple):
    """What the loss reads of B trials.

    Attributes:
        trials: what was sampled.
        advantages: normalised over all trials, [B, L].
        targets: what the value head is fitted to, in units of the returns' spread, [B, L].
        log_probs: of the actions before the update, [B, L].
        old: the distributions before the update.
    """

    trials: Trials
    advantages: Tensor
    targets: Tensor
    log_probs: Tensor
    old: Distribution


class PPOTerms(NamedTuple):
    """The loss and what it is made of, each a mean over steps.

    Attributes:
        loss: policy + value_weight value - entropy_weight entropy.
        policy: the clipped surrogate, with the sign of a loss.
        value: squared error, in units of the returns' spread.
        entropy: of the policy.
        kl: divergence of the policy from the one before the update.
        clipped: share of the steps whose ratio is outside the clip's range.
    """

    loss: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    kl: Tensor
    clipped: Tensor


def with_returns(statistics: Params, trials: Trials, discount: float) -> Params:
    """Running mean and mean square of the discounted returns: of all so far, later of the last 20 iterations or so.

    Args:
        statistics: "seen", the number of updates, "mean" and "square"; scalars.
        trials: what has been sampled.
        discount: gamma.
    """
    mask = trials.mask.to(statistics["mean"])
    returns = discounted_returns(trials.rewards.to(statistics["mean"]), discount)
    share = (1 / (statistics["seen"] + 1)).clamp(min=1 / _MEMORY)
    now = {name: (value * mask).sum() / mask.sum() for name, value in (("mean", returns), ("square", returns.square()))}
    moved = {name: statistics[name] + share * (value - statistics[name]) for name, value in now.items()}
    return {"seen": statistics["seen"] + 1, **moved}


@torch.no_grad()
def prepare_trials(
    policy: RecurrentPolicy, params: Params, trials: Trials, statistics: Params, config: PPOConfig
) -> PPOBatch:
    """Advantages and value targets of trials, with values that go on over the ends of episodes and stop at the trial's.

    Args:
        policy: the policy.
        params: those that sampled.
        trials: what they sampled.
        statistics: of returns; the value head speaks in units of them.
        config: of the update.

    Raises:
        SamplerMismatchError: the log-probabilities differ from the sampler's.
    """
    output = _replayed(policy, params, trials)
    log_probs = output.distribution.log_prob(trials.actions)
    require_agreement(log_probs, trials.log_probs, trials.mask)
    mean, spread = statistics["mean"], _spread(statistics)
    rewards, mask = trials.rewards.to(mean), trials.mask.to(mean)
    values = mean + spread * output.values.to(mean)
    ends = torch.zeros_like(values[:, 0])
    advantages = generalised_advantages(rewards, values, mask, ends, config.discount, config.gae_lambda)
    normal, _ = normalise(advantages.view(1, -1), mask.view(1, -1))
    targets = (advantages + values - mean) / spread * mask
    dtype = trials.rewards.dtype
    return PPOBatch(trials, normal.view_as(mask).to(dtype), targets.to(dtype), log_probs, output.distribution)


def ppo_terms(policy: RecurrentPolicy, params: Params, batch: PPOBatch, config: PPOConfig) -> PPOTerms:
    """-mean min(r A, clip(r, 1 - c, 1 + c) A) + w_v mean (v - target)^2 - w_e mean H (Schulman et al., 2017, eq. 9)."""
    output, mask = _replayed(policy, params, batch.trials), batch.trials.mask
    weights = mask / mask.sum()
    ratio = ((output.distribution.log_prob(batch.trials.actions) - batch.log_probs) * mask).exp()
    policy_loss = -(weights * clipped_gains(ratio, batch.advantages, config.clip)).sum()
    value_loss = (weights * (output.values - batch.targets).square()).sum()
    entropy = (weights * output.distribution.entropy()).sum()
    with torch.no_grad():
        kl = (weights * batch.old.kl(output.distribution)).sum()
        clipped = (weights * ((ratio - 1).abs() > config.clip)).sum()
    loss = policy_loss + config.value_weight * value_loss - config.entropy_weight * entropy
    return PPOTerms(loss, policy_loss, value_loss, entropy, kl, clipped)


class PPOProblem(NamedTuple):
    """What an update is given: the samples, and what divides them into minibatches."""

    batch: PPOBatch
    rng: np.random.Generator


def ppo(policy: RecurrentPolicy, config: PPOConfig) -> MetaOptimiser[PPOProblem]:
    """Epochs of Adam on minibatches of trials. Its memory is Adam's, its metrics are means over the last epoch."""

    def update(meta: Meta, memory: AdamState, problem: PPOProblem, iteration: int) -> Update:
        batch, rng = problem
        for epoch in range(config.epochs):
            parts = []
            for rows in np.array_split(rng.permutation(len(batch.advantages)), config.minibatches):
                terms, gradient = _gradient(policy, meta, _rows(batch, torch.from_numpy(rows)), config, epoch)
                meta, memory = adam_step(meta, gradient, memory, config.learning_rate)
                parts.append(torch.stack(terms).detach())
            means = dict(zip(PPOTerms._fields, torch.stack(parts).double().mean(0).tolist(), strict=True))
            if config.target_kl is not None and means["kl"] > config.target_kl:
                break
        metrics = {
            "policy_loss": means["policy"],
            "value_loss": means["value"],
            "entropy": means["entropy"],
            "kl": means["kl"],
            "clipped_share": means["clipped"],
            "epochs": float(epoch + 1),
        }
        return Update(meta, memory, metrics)

    return MetaOptimiser("ppo", adam_start, update)


def _gradient(
    policy: RecurrentPolicy, meta: Meta, batch: PPOBatch, config: PPOConfig, epoch: int
) -> tuple[PPOTerms, Meta]:
    """The terms, and the loss's gradient, scaled down to `max_norm` where it is longer.

    Raises:
        FloatingPointError: the loss or its gradient is not finite.
    """
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in meta[POLICY].items()}
    terms = ppo_terms(policy, leaves, batch, config)
    slopes = torch.autograd.grad(terms.loss, list(leaves.values()))
    gradient, norm = clip_norm({POLICY: dict(zip(leaves, slopes, strict=True))}, config.max_norm)
    if not (torch.isfinite(terms.loss) and torch.isfinite(norm)):
        raise FloatingPointError(
            f"epoch {epoch} of the update: the loss is {float(terms.loss.detach())} and its gradient's length "
            f"{float(norm)}; a smaller `ppo.learning_rate` is gentler."
        )
    return terms, gradient


def _replayed(policy: RecurrentPolicy, params: Params, trials: Trials) -> Output:
    return policy.sequence(params, trials.observations, trials.actions, trials.rewards, trials.episode_starts)


def _rows(batch: PPOBatch, rows: Tensor) -> PPOBatch:
    """The batch of these trials."""
    return map_tree(lambda part: part[rows.to(part.device)], batch)


def _spread(statistics: Params) -> Tensor:
    """Standard deviation of the returns; 1 where they do not vary."""
    variance = statistics["square"] - statistics["mean"].square()
    return torch.where(variance > 1e-12 * statistics["square"] + 1e-12, variance.clamp(min=0).sqrt(), 1.0)


def _require(name: str, holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"`ppo.{name}` must be {expected}, got {got}.")
