"""Proximal policy optimisation of a recurrent policy over whole trials (Schulman et al., 2017)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maml_rl.core.optimisers import AdamState, adam_step
from maml_rl.core.types import Params
from maml_rl.rl.advantages import discounted_returns, generalised_advantages, normalise
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.losses import clipped_gains
from maml_rl.rl.recurrent.gru_policy import RecurrentPolicy
from maml_rl.rl.recurrent.trial_sampling import Trials
from maml_rl.rl.updates.sampler_agreement import require_agreement

__all__ = ["PPOBatch", "PPOConfig", "PPOTerms", "ppo_terms", "ppo_update", "prepare_trials", "with_returns"]

_MEMORY = 20
"""Iterations that the running statistics of returns look back on."""


@dataclass(frozen=True)
class PPOConfig:
    """The update.

    Attributes:
        rate: Adam's.
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

    rate: float = 2e-3
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
        for name in ("rate", "clip", "max_norm"):
            _require(name, 0 < getattr(self, name) < float("inf"), "positive and finite", getattr(self, name))
        for name in ("discount", "gae_lambda"):
            _require(name, 0 <= getattr(self, name) <= 1, "between 0 and 1", getattr(self, name))
        for name in ("value_weight", "entropy_weight"):
            _require(name, 0 <= getattr(self, name) < float("inf"), "finite and at least 0", getattr(self, name))
        _require("target_kl", self.target_kl is None or self.target_kl > 0, "positive", self.target_kl)


class PPOBatch(NamedTuple):
    """What the loss reads of B trials.

    Attributes:
        inputs: [B, L, I].
        actions: [B, L, A], or [B, L] where actions are discrete.
        mask: [B, L], 1 for steps that happened.
        advantages: normalised over all trials, [B, L].
        targets: what the value head is fitted to, in units of the returns' spread, [B, L].
        log_probs: of the actions before the update, [B, L].
        old: the distributions before the update.
    """

    inputs: Tensor
    actions: Tensor
    mask: Tensor
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
    output, _ = policy.sequence(params, trials.inputs)
    log_probs = output.distribution.log_prob(trials.actions)
    require_agreement(log_probs, trials.log_probs, trials.mask)
    mean, spread = statistics["mean"], _spread(statistics)
    rewards, mask = trials.rewards.to(mean), trials.mask.to(mean)
    values = mean + spread * output.values.to(mean)
    ends = torch.zeros_like(values[:, 0])
    advantages = generalised_advantages(rewards, values, mask, ends, config.discount, config.gae_lambda)
    normal, _ = normalise(advantages.view(1, -1), mask.view(1, -1))
    targets = (advantages + values - mean) / spread * mask
    kind = trials.rewards.dtype
    return PPOBatch(
        trials.inputs,
        trials.actions,
        trials.mask,
        normal.view_as(mask).to(kind),
        targets.to(kind),
        log_probs,
        output.distribution,
    )


def ppo_terms(policy: RecurrentPolicy, params: Params, batch: PPOBatch, config: PPOConfig) -> PPOTerms:
    """-mean min(r A, clip(r, 1 - c, 1 + c) A) + w_v mean (v - target)^2 - w_e mean H (Schulman et al., 2017, eq. 9)."""
    output, _ = policy.sequence(params, batch.inputs)
    weights = batch.mask / batch.mask.sum()
    ratio = ((output.distribution.log_prob(batch.actions) - batch.log_probs) * batch.mask).exp()
    policy_loss = -(weights * clipped_gains(ratio, batch.advantages, config.clip)).sum()
    value_loss = (weights * (output.values - batch.targets).square()).sum()
    entropy = (weights * output.distribution.entropy()).sum()
    with torch.no_grad():
        kl = (weights * batch.old.kl(output.distribution)).sum()
        clipped = (weights * ((ratio - 1).abs() > config.clip)).sum()
    loss = policy_loss + config.value_weight * value_loss - config.entropy_weight * entropy
    return PPOTerms(loss, policy_loss, value_loss, entropy, kl, clipped)


def ppo_update(
    policy: RecurrentPolicy,
    params: Params,
    adam: AdamState,
    batch: PPOBatch,
    config: PPOConfig,
    rng: np.random.Generator,
) -> tuple[Params, AdamState, dict[str, float]]:
    """Several epochs of Adam steps on the clipped surrogate; nothing is changed in place.

    Args:
        policy: the policy.
        params: those that sampled.
        adam: the optimiser's state.
        batch: of all trials.
        config: of the update.
        rng: divides the trials into minibatches.

    Returns:
        Parameters, the optimiser's state, and means over the last epoch.

    Raises:
        FloatingPointError: the loss or its gradient is not finite.
    """
    for epoch in range(config.epochs):
        found = []
        for rows in np.array_split(rng.permutation(len(batch.mask)), config.minibatches):
            terms, gradient = _gradient(policy, params, _rows(batch, torch.from_numpy(rows)), config, epoch)
            params, adam = adam_step(params, gradient, adam, config.rate)
            found.append(torch.stack(terms).detach())
        means = dict(zip(PPOTerms._fields, torch.stack(found).double().mean(0).tolist(), strict=True))
        if config.target_kl is not None and means["kl"] > config.target_kl:
            break
    return params, adam, {**means, "epochs": float(epoch + 1)}


def _gradient(
    policy: RecurrentPolicy, params: Params, batch: PPOBatch, config: PPOConfig, epoch: int
) -> tuple[PPOTerms, Params]:
    """The terms, and the loss's gradient, scaled down to `max_norm` where it is longer."""
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
    terms = ppo_terms(policy, leaves, batch, config)
    gradient = torch.autograd.grad(terms.loss, list(leaves.values()))
    norm = torch.stack([part.norm() for part in gradient]).norm()
    if not (torch.isfinite(terms.loss) and torch.isfinite(norm)):
        raise FloatingPointError(
            f"epoch {epoch} of the update: the loss is {float(terms.loss.detach())} and its gradient's length "
            f"{float(norm)}; a smaller `ppo.rate` is gentler."
        )
    scale = (config.max_norm / norm.clamp(min=config.max_norm)).detach()
    return terms, {name: part * scale for name, part in zip(leaves, gradient, strict=True)}


def _rows(batch: PPOBatch, rows: Tensor) -> PPOBatch:
    """The batch of these trials."""
    rows = rows.to(batch.mask.device)
    old: Distribution = type(batch.old)(*(part[rows] for part in batch.old))
    few = {name: getattr(batch, name)[rows] for name in PPOBatch._fields if name != "old"}
    return PPOBatch(**few, old=old)


def _spread(statistics: Params) -> Tensor:
    """Standard deviation of the returns; 1 where they do not vary."""
    variance = statistics["square"] - statistics["mean"].square()
    return torch.where(variance > 1e-12 * statistics["square"] + 1e-12, variance.clamp(min=0).sqrt(), 1.0)


def _require(name: str, holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"`ppo.{name}` must be {expected}, got {got}.")
