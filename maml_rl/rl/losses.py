"""Policy-gradient losses as weighted sums over samples: REINFORCE inside, the likelihood ratio outside."""

from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.types import Loss, Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.policies import Policy

__all__ = ["RLBatch", "divergence", "reinforce", "sample_weights", "surrogate", "thinned"]


class RLBatch(NamedTuple):
    """The samples of one inner step that a loss reads, [S, ...] for one task or [N, S, ...] for all.

    Attributes:
        observations: [..., S, O].
        actions: [..., S, A], or [..., S] where actions are discrete.
        advantages: [..., S].
        weights: [..., S], non-negative with sum 1: how much each sample counts; zero for steps that did not happen.
        log_probs: [..., S], under the policy that sampled.
    """

    observations: Tensor
    actions: Tensor
    advantages: Tensor
    weights: Tensor
    log_probs: Tensor


def sample_weights(mask: Tensor, weighting: str) -> Tensor:
    """Weights of the samples in a task's mean, [..., E, T] with sum 1 over E and T.

    ``"steps"`` averages over all steps (Finn et al., 2017; Rothfuss et al., 2019), ``"episodes"`` over the steps of
    each episode and then over episodes (pytorch-maml-rl). They differ when episodes end early.

    Raises:
        ValueError: the weighting has another name.
    """
    if weighting == "steps":
        return mask / mask.sum((-2, -1), keepdim=True)
    if weighting == "episodes":
        return mask / mask.sum(-1, keepdim=True) / mask.shape[-2]
    raise ValueError(f"`weighting` must be 'steps' or 'episodes', got {weighting!r}.")


def thinned(batch: RLBatch, every: int) -> RLBatch:
    """One in `every` samples of each task, spread evenly over the steps of episodes, with weights of sum 1 again."""
    count = batch.weights.shape[1]
    starts = torch.arange(0, count - every + 1, every, dtype=torch.float64, device=batch.weights.device)
    # The place within each run of samples follows the golden ratio, so no time step is preferred.
    places = starts + ((starts / every * 0.6180339887498949) % 1.0 * every).floor()
    few = RLBatch(*(part[:, places.long()] for part in batch))
    total = few.weights.sum(-1, keepdim=True)
    return few._replace(weights=few.weights / total.where(total > 0, 1.0))


def reinforce(policy: Policy) -> Loss:
    """L(phi) = -sum_s w_s A_s log pi_phi(a_s | o_s) (Williams, 1992; Finn et al., 2017, equation 4)."""

    def loss(params: Params, batch: RLBatch, step: int) -> Tensor:
        log_probs = policy.act(params, batch.observations).log_prob(batch.actions)
        return -(batch.weights * batch.advantages * log_probs).sum(-1)

    return loss


def surrogate(distribution: Distribution, old_log_probs: Tensor, batch: RLBatch) -> Tensor:
    """L = -sum_s w_s A_s pi(a_s) / pi_old(a_s), [...], pi_old the adapted policy that sampled (trap: not pi_theta)."""
    ratio = (distribution.log_prob(batch.actions) - old_log_probs).exp()
    return -(batch.weights * batch.advantages * ratio).sum(-1)


def divergence(old: Distribution, new: Distribution, batch: RLBatch) -> Tensor:
    """sum_s w_s KL(old || new), [...], over the states that the old adapted policy visited."""
    return (batch.weights * old.kl(new)).sum(-1)
