"""Evolution strategies: their means against the gradients that they stand for, by z-scores with fixed seeds."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from maml_rl.core.estimators import (
    Carry,
    Estimator,
    Lifetimes,
    Problem,
    evolution_strategies,
    full_unroll,
    persistent_evolution_strategies,
    truncated_unroll,
)
from maml_rl.core.tree import flatten
from maml_rl.core.types import Meta
from tests.core.lifetime_problems import seeded

SIZE, COUNT, LENGTH, UNROLL = 3, 200, 20, 4
GROWTH = torch.tensor([0.97, 0.9, 0.8], dtype=torch.float64)


def _filter(theta: Meta, carry: Carry, data: Tensor, k: Tensor) -> tuple[Carry, Tensor]:
    """s_{k+1} = growth s_k + theta d_k, loss |s_{k+1} - 1|^2 / 2 + |theta|^2 / 2: quadratic in each step's theta."""
    state = GROWTH * carry + theta["filter"]["gain"] * data
    return state, 0.5 * (state - 1).square().sum() + 0.5 * theta["filter"]["gain"].square().sum()


FILTER = Problem(lambda theta, seed: 0.5 * theta["filter"]["gain"], _filter)
THETA: Meta = {"filter": {"gain": torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)}}
DATA = torch.randn(1, LENGTH, SIZE, generator=seeded(1), dtype=torch.float64) + 0.5
LIFETIMES = Lifetimes(COUNT, LENGTH, staggered=False)


def _whole_lifetimes(estimator: Estimator, repeats: int) -> Iterator[Tensor]:
    """The mean gradient over all unrolls of N lifetimes, [P], again and again."""
    memory = estimator.init(THETA, seeded(0))
    data = DATA.expand(len(memory["step"]), -1, -1)
    for repeat in range(repeats):
        gradients = []
        for t in range(0, LENGTH, estimator.steps):
            generator = seeded(1000 * repeat + t)
            result = estimator.estimate(THETA, memory, data[:, t : t + estimator.steps], generator)
            memory = result.memory
            gradients.append(flatten(result.gradient))
        yield torch.stack(gradients).mean(0)


def _scores(estimator: Estimator, truth: Tensor, repeats: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard error and z-scores of the mean against `truth`, [P] each."""
    samples = torch.stack(list(_whole_lifetimes(estimator, repeats)))
    mean, error = samples.mean(0), samples.std(0) / repeats**0.5
    return mean, error, (mean - truth) / error


def _exact(estimator: Estimator) -> Tensor:
    return next(_whole_lifetimes(estimator, 1))


def _true_gradient() -> Tensor:
    return _exact(full_unroll(FILTER, replace(LIFETIMES, count=1)))


def test_on_a_quadratic_evolution_strategies_over_a_lifetime_have_the_true_gradient_for_a_mean() -> None:
    truth = _true_gradient()
    _, error, z = _scores(evolution_strategies(FILTER, LIFETIMES, LENGTH, 0.3), truth, 60)
    assert float(z.abs().max()) < 3.5
    assert float((error / truth.abs()).max()) < 0.05


def test_truncated_evolution_strategies_have_the_mean_and_the_bias_of_truncation() -> None:
    truncated = _exact(truncated_unroll(FILTER, replace(LIFETIMES, count=1), UNROLL))
    _, error, z = _scores(evolution_strategies(FILTER, LIFETIMES, UNROLL, 0.3), truncated)
    assert float(z.abs().max()) < 3.5
    assert float(((truncated - _true_gradient()).abs() / error).max()) > 30


def test_persistent_evolution_strategies_are_unbiased_where_truncation_is_not() -> None:
    """The gradient is (2.32, -7.01, 6.86), truncated (1.20, -2.87, 4.72), persistent (2.24, -7.02, 6.88) +- 0.07."""
    truth = _true_gradient()
    truncated = _exact(truncated_unroll(FILTER, replace(LIFETIMES, count=1), UNROLL))
    _, error, z = _scores(persistent_evolution_strategies(FILTER, LIFETIMES, UNROLL, 0.3), truth, 150)
    bias = (truncated - truth).abs()
    assert float(z.abs().max()) < 3.5
    assert float((bias / truth.abs()).min()) > 0.3
    assert float((bias / error).min()) > 15


def test_the_mean_is_the_gradient_of_the_smoothed_loss() -> None:
    """d/dx E (x + e)^4 = 4 x^3 + 12 x sigma^2 for each coordinate."""
    quartic = Problem(
        lambda theta, seed: (), lambda theta, carry, data, k: (carry, theta["filter"]["gain"].pow(4).sum())
    )
    sigma, x = 0.5, flatten(THETA)
    smoothed = 4 * x**3 + 12 * x * sigma**2
    for factory in (evolution_strategies, persistent_evolution_strategies):
        _, error, z = _scores(factory(quartic, Lifetimes(2000, LENGTH), LENGTH, sigma), smoothed, 50)
        assert float(z.abs().max()) < 3.5
        assert float(((smoothed - 4 * x**3).abs() / error).min()) > 10


def test_both_sides_of_a_pair_live_the_same_lifetime() -> None:
    """A loss of the seed and the data alone cancels: no perturbation, no gradient."""

    def step(theta: Meta, carry: Tensor, data: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return carry, carry * data.sum()

    chance = Problem(lambda theta, seed: (seed % 1000).double(), step)
    for factory in (evolution_strategies, persistent_evolution_strategies):
        for gradient in _whole_lifetimes(factory(chance, LIFETIMES, UNROLL, 0.1), 2):
            assert float(gradient.abs().max()) == 0.0


def test_without_persistence_a_lifetime_goes_on_under_theta_itself() -> None:
    factories = (
        evolution_strategies(FILTER, LIFETIMES, UNROLL, 0.3),
        truncated_unroll(FILTER, LIFETIMES, UNROLL),
    )
    memories = [each.init(THETA, seeded(0)) for each in factories]
    for t in range(0, 2 * UNROLL, UNROLL):
        data = DATA[:, t : t + UNROLL].expand(COUNT, -1, -1)
        memories = [
            each.estimate(THETA, memory, data, seeded(t)).memory
            for each, memory in zip(factories, memories, strict=True)
        ]
        lived = [{name: memory[name] for name in ("carry", "step", "end")} for memory in memories]
        torch.testing.assert_close(*lived, rtol=1e-12, atol=0.0)
