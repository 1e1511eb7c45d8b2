"""Distributions against torch.distributions, and their curvature against double differentiation, in float64."""

import pytest
import torch
from torch import Tensor, distributions

from maml_rl.rl.distributions import Categorical, DiagonalGaussian, Distribution

N, S, A = 2, 5, 3


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _pair(family: str, seed: int) -> tuple[Distribution, distributions.Distribution]:
    mean = _random(N, S, A, seed=seed)
    if family == "categorical":
        return Categorical(mean), distributions.Categorical(logits=mean)
    log_std = 0.3 * _random(N, 1, A, seed=seed + 50)
    normal = distributions.Normal(mean, log_std.exp().expand_as(mean))
    return DiagonalGaussian(mean, log_std), distributions.Independent(normal, 1)


def _actions(family: str) -> Tensor:
    return (
        torch.randint(A, (N, S), generator=torch.Generator().manual_seed(3))
        if family == "categorical"
        else _random(N, S, A, seed=3)
    )


@pytest.mark.parametrize("family", ["gaussian", "categorical"])
def test_log_prob_kl_and_entropy_equal_torch(family: str) -> None:
    (ours, theirs), (new_ours, new_theirs) = _pair(family, 1), _pair(family, 2)
    actions = _actions(family)
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        ours.kl(new_ours), distributions.kl_divergence(theirs, new_theirs), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(ours.entropy(), theirs.entropy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", ["gaussian", "categorical"])
def test_curvature_is_the_hessian_of_the_weighted_kl(family: str) -> None:
    ours, _ = _pair(family, 1)
    weights = _random(N, S, seed=7).abs()
    tangent = tuple(_random(*part.shape, seed=8 + index) for index, part in enumerate(ours))

    def divergence(*parts: Tensor) -> Tensor:
        return (weights * ours.kl(type(ours)(*parts))).sum()

    _, expected = torch.autograd.functional.hvp(divergence, tuple(ours), tangent)
    for product, wanted in zip(ours.curvature(weights, tangent), expected, strict=True):
        torch.testing.assert_close(product, wanted, rtol=1e-10, atol=1e-12)


def test_samples_have_the_distribution_they_say() -> None:
    draws = 200_000
    noise = _random(1, draws, A, seed=4)
    gaussian = DiagonalGaussian(_random(1, 1, A).expand(1, draws, A), 0.3 * _random(1, 1, A, seed=5))
    actions = gaussian.sample(noise)[0]
    torch.testing.assert_close(actions.mean(0), gaussian.mean[0, 0], rtol=0, atol=0.02)
    torch.testing.assert_close(actions.std(0).log(), gaussian.log_std[0, 0], rtol=0, atol=0.02)
    logits = torch.tensor([0.1, -1.0, 1.5], dtype=torch.float64)
    gumbel = -torch.log(
        -torch.log(torch.rand(draws, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64))
    )
    counts = Categorical(logits.expand(draws, 3)).sample(gumbel).bincount(minlength=3) / draws
    torch.testing.assert_close(counts.double(), logits.softmax(-1), rtol=0, atol=0.01)


def test_modes_have_the_highest_log_probability() -> None:
    for family in ("gaussian", "categorical"):
        ours, _ = _pair(family, 1)
        assert (ours.log_prob(ours.mode()) >= ours.log_prob(_actions(family))).all()
