"""Action distributions: log-probability, divergence and its curvature, each summed over action dimensions."""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

__all__ = ["Categorical", "DiagonalGaussian", "Distribution"]


class Distribution(Protocol):
    """What a policy returns for observations [..., S, O]: a named tuple of tensors with these methods."""

    def __iter__(self) -> Iterator[Tensor]:
        """The tensors."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """log pi(a), [..., S], for actions [..., S, A] (or [..., S] where actions are discrete)."""

    def kl(self, new: "Distribution") -> Tensor:
        """KL(self || new), [..., S]."""

    def curvature(self, weights: Tensor, tangent: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """M t, M the Hessian of sum_s weights_s KL(self || .) at self, in the tuple's own tensors."""

    def entropy(self) -> Tensor:
        """The entropy, [..., S]."""

    def sample(self, noise: Tensor) -> Tensor:
        """Actions made of noise drawn by the policy's `draw_noise`."""

    def mode(self) -> Tensor:
        """The most likely actions."""


class DiagonalGaussian(NamedTuple):
    """Independent Gaussians with a spread that does not depend on the observation.

    Attributes:
        mean: [..., S, A].
        log_std: [..., 1, A].
    """

    mean: Tensor
    log_std: Tensor

    def log_prob(self, actions: Tensor) -> Tensor:
        """sum_i -((a_i - m_i) / s_i)^2 / 2 - log s_i - log(2 pi) / 2."""
        scaled = (actions - self.mean) * torch.exp(-self.log_std)
        constant = 0.5 * math.log(2 * math.pi) * self.mean.shape[-1]
        return -0.5 * scaled.square().sum(-1) - self.log_std.sum(-1) - constant

    def kl(self, new: Distribution) -> Tensor:
        """sum_i log(s'_i / s_i) + (s_i^2 + (m_i - m'_i)^2) / (2 s'_i^2) - 1/2."""
        other = cast("DiagonalGaussian", new)
        precision = torch.exp(-2 * other.log_std)
        spread = torch.exp(2 * self.log_std) + (self.mean - other.mean).square()
        return (other.log_std - self.log_std + 0.5 * spread * precision - 0.5).sum(-1)

    def curvature(self, weights: Tensor, tangent: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """M = 1 / s^2 for the mean and 2 for log s."""
        mean, log_std = tangent
        total = weights.sum(-1)[..., None, None]
        return weights[..., None] * torch.exp(-2 * self.log_std) * mean, 2 * total * log_std

    def entropy(self) -> Tensor:
        """sum_i log s_i + log(2 pi e) / 2."""
        constant = 0.5 * math.log(2 * math.pi * math.e) * self.mean.shape[-1]
        return (self.log_std.sum(-1) + constant).expand(self.mean.shape[:-1])

    def sample(self, noise: Tensor) -> Tensor:
        """m + s e, e standard normal of the mean's shape."""
        return self.mean + torch.exp(self.log_std) * noise

    def mode(self) -> Tensor:
        """m."""
        return self.mean


class Categorical(NamedTuple):
    """One of A actions.

    Attributes:
        logits: [..., S, A], not normalised.
    """

    logits: Tensor

    def log_prob(self, actions: Tensor) -> Tensor:
        """The log-probability of integer actions [..., S]."""
        return self.logits.log_softmax(-1).gather(-1, actions.long()[..., None])[..., 0]

    def kl(self, new: Distribution) -> Tensor:
        """sum_a p_a (log p_a - log p'_a)."""
        log_p = self.logits.log_softmax(-1)
        log_q = cast("Categorical", new).logits.log_softmax(-1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    def curvature(self, weights: Tensor, tangent: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """M = diag(p) - p p'."""
        (logits,) = tangent
        p = self.logits.softmax(-1)
        return (weights[..., None] * p * (logits - (p * logits).sum(-1, keepdim=True)),)

    def entropy(self) -> Tensor:
        """-sum_a p_a log p_a."""
        log_p = self.logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """argmax_a (logit_a + g_a) with standard Gumbel noise g of the logits' shape."""
        return (self.logits + noise).argmax(-1)

    def mode(self) -> Tensor:
        """argmax_a logit_a."""
        return self.logits.argmax(-1)
