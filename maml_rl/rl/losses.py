"""Policy-gradient losses as weighted sums over samples: inner losses as values, and the likelihood ratio outside."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.types import Loss, Meta, Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.policies import Policy

__all__ = [
    "INNER_LOSSES",
    "InnerLoss",
    "RLBatch",
    "clipped_gains",
    "clipped_surrogate",
    "credit",
    "divergence",
    "sample_weights",
    "surrogate",
    "thinned",
]


class RLBatch(NamedTuple):
    """The samples of one inner step that a loss reads, [S, ...] for one task or [N, S, ...] for all.

    They stand episode after episode, T each, so that S = E * T; behind an episode's end their weights are zero.

    Attributes:
        observations: [..., S, O].
        actions: [..., S, A], or [..., S] where actions are discrete.
        advantages: [..., S].
        weights: [..., S], non-negative with sum 1: how much each sample counts; zero for steps that did not happen.
        log_probs: [..., S], under the policy that sampled.
        lengths: [..., E], steps of each episode.
        scale: [...], what the advantages were divided by.
    """

    observations: Tensor
    actions: Tensor
    advantages: Tensor
    weights: Tensor
    log_probs: Tensor
    lengths: Tensor
    scale: Tensor


_BY_SAMPLE = ("observations", "actions", "advantages", "weights", "log_probs")


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


class InnerLoss(NamedTuple):
    """An estimator of the policy gradient, as a loss. All have the same first derivative; they differ in the second.

    Attributes:
        name: how configurations call it.
        of: ``of(policy)`` is the loss of one task.
        whole_episodes: whether it ties the samples of an episode together, so that only whole ones can be left out.
    """

    name: str
    of: Callable[[Policy], Loss]
    whole_episodes: bool = False


def _log_probability(policy: Policy) -> Loss:
    """L(phi) = -sum_s w_s A_s log pi_phi(a_s | o_s) (Williams, 1992; Finn et al., 2017, equation 4).

    Its Hessian lacks what the gradient owes to the sampling distribution: as an estimate of the expected return's it is
    biased (Foerster et al., 2018, section 3).
    """

    def loss(params: Params, batch: RLBatch, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        log_probs = policy.act(params, batch.observations).log_prob(batch.actions)
        return -(batch.weights * batch.advantages * log_probs).sum(-1), ()

    return loss


def _likelihood_ratio(policy: Policy) -> Loss:
    """L(phi) = -sum_s w_s A_s pi_phi(a_s | o_s) / pi_sampled(a_s | o_s) (Rothfuss et al., 2019, equation 12).

    The low-variance-curvature estimator where phi is what sampled. Its Hessian lacks the products of different time
    steps, so it is exact for one step and biased, but quiet, for more.
    """

    def loss(params: Params, batch: RLBatch, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        ratio = (policy.act(params, batch.observations).log_prob(batch.actions) - batch.log_probs).exp()
        return -(batch.weights * batch.advantages * ratio).sum(-1), ()

    return loss


def _dice(policy: Policy) -> Loss:
    """L(phi) = -sum_t w_t A_t (m(c_t) - m(c_{t-1})), c_t = sum_{t' <= t} log pi_phi(a_t' | o_t'), m(c) = exp(c - [c]).

    DiCE (Foerster et al., 2018, equation 6) with a baseline at each step that keeps derivatives of any order unbiased
    (Farquhar et al., 2019, equation 8): for undiscounted returns less a baseline the rewards' part is DiCE's own, and
    the baseline's has mean zero. A discount, lambda < 1 and normalised advantages bias it as they bias the gradient.
    [c] is c as a constant.
    """

    def loss(params: Params, batch: RLBatch, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
        log_probs = policy.act(params, batch.observations).log_prob(batch.actions)
        by_episode = (batch.lengths.shape[-1], -1)
        taken = log_probs.where(batch.weights > 0, 0.0).view(by_episode)
        until = taken.cumsum(-1)
        before = until - taken
        gains = (until - until.detach()).exp() - (before - before.detach()).exp()
        return -((batch.weights * batch.advantages).view(by_episode) * gains).sum(), ()

    return loss


INNER_LOSSES = {
    loss.name: loss
    for loss in (
        InnerLoss("log_probability", _log_probability),
        InnerLoss("likelihood_ratio", _likelihood_ratio),
        InnerLoss("dice", _dice, whole_episodes=True),
    )
}
"""Inner losses by name."""


def thinned(batch: RLBatch, every: int, whole_episodes: bool = False) -> RLBatch:
    """One in `every` samples of each task, with weights of sum 1 again.

    Samples are spread evenly over the steps of episodes, or the first of `every` episodes each is taken whole.

    Args:
        batch: [N, S, ...].
        every: at least 1; beyond the number of samples or episodes one is left.
        whole_episodes: whether episodes are to stay whole.
    """
    count, lengths = batch.weights.shape[1], batch.lengths
    every = min(every, lengths.shape[1] if whole_episodes else count)
    if whole_episodes:
        kept = torch.arange(0, lengths.shape[1] - every + 1, every, device=lengths.device)
        steps = count // lengths.shape[1]
        places = (kept[:, None] * steps + torch.arange(steps, device=lengths.device)).flatten()
        lengths = lengths[:, kept]
    else:
        starts = torch.arange(0, count - every + 1, every, dtype=torch.float64, device=lengths.device)
        # The place within each run of samples follows the golden ratio, so no time step is preferred.
        places = (starts + ((starts / every * 0.6180339887498949) % 1.0 * every).floor()).long()
    few = batch._replace(**{name: getattr(batch, name)[:, places] for name in _BY_SAMPLE}, lengths=lengths)
    total = few.weights.sum(-1, keepdim=True)
    return few._replace(weights=few.weights / total.where(total > 0, 1.0))


def surrogate(distribution: Distribution, old_log_probs: Tensor, batch: RLBatch) -> Tensor:
    """L = -sum_s w_s A_s pi(a_s) / pi_old(a_s), [...], pi_old the adapted policy that sampled (trap: not pi_theta)."""
    ratio = (distribution.log_prob(batch.actions) - old_log_probs).exp()
    return -(batch.weights * batch.advantages * ratio).sum(-1)


def clipped_surrogate(distribution: Distribution, old_log_probs: Tensor, batch: RLBatch, clip: float) -> Tensor:
    """L = -sum_s w_s min(r_s A_s, clamp(r_s, 1 - e, 1 + e) A_s), [...] (Schulman et al., 2017, equation 7).

    Args:
        distribution: of actions at the batch's observations.
        old_log_probs: of its actions under the policy that sampled; r is the ratio to it.
        batch: samples.
        clip: e; infinity for the surrogate itself.
    """
    ratio = (distribution.log_prob(batch.actions) - old_log_probs).exp()
    return -(batch.weights * clipped_gains(ratio, batch.advantages, clip)).sum(-1)


def clipped_gains(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """min(r A, clamp(r, 1 - e, 1 + e) A) for ratios and advantages of one shape."""
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def credit(distribution: Distribution, old_log_probs: Tensor, batch: RLBatch) -> Tensor:
    """sum_s log pi(a_s) - log pi_old(a_s) over the steps that happened, [...]: of what E-MAML's extra term is made."""
    return ((distribution.log_prob(batch.actions) - old_log_probs) * (batch.weights > 0)).sum(-1)


def divergence(old: Distribution, new: Distribution, batch: RLBatch) -> Tensor:
    """sum_s w_s KL(old || new), [...], over the states that the old adapted policy visited."""
    return (batch.weights * old.kl(new)).sum(-1)
