"""Lambda-returns with a discount and a lambda of each step, against plain loops and finite differences, in float64."""

import pytest
import torch
from torch import Tensor

from maml_rl.rl.advantages import generalised_advantages, lambda_advantages

E, T = 3, 7


def _numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _parts(seed: int, *shape: int) -> Tensor:
    """Numbers in (0, 1)."""
    return torch.sigmoid(_numbers(seed, *shape))


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.9, 0.7), (1.0, 1.0), (0.99, 0.0), (0.0, 0.5)])
@pytest.mark.parametrize("steps", [1, 2, T])
def test_with_numbers_they_are_generalised_advantages(steps: int, discount: float, gae_lambda: float) -> None:
    rewards, values, after = _numbers(0, E, steps), _numbers(1, E, steps), _numbers(2, E)
    following = torch.cat([values[:, 1:], after[:, None]], 1)
    wanted = generalised_advantages(rewards, values, torch.ones_like(rewards), after, discount, gae_lambda)
    full = torch.full((E, steps), gae_lambda, dtype=torch.float64)
    for each in (torch.full_like(full, discount), torch.tensor(discount, dtype=torch.float64)):
        ours = lambda_advantages(rewards, values, following, each, full)
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)


def test_lambda_one_is_monte_carlo_with_a_discount_of_each_state() -> None:
    """G_t = r_{t+1} + g_{t+1} r_{t+2} + g_{t+1} g_{t+2} r_{t+3} + ..., and the last state's value at the end."""
    rewards, values, after, discounts = _numbers(0, E, T), _numbers(1, E, T), _numbers(2, E), _parts(3, E, T)
    following = torch.cat([values[:, 1:], after[:, None]], 1)
    ours = lambda_advantages(rewards, values, following, discounts, torch.ones(E, T, dtype=torch.float64)) + values
    for row in range(E):
        for t in range(T):
            total, weight = 0.0, 1.0
            for k in range(t, T):
                total += weight * float(rewards[row, k])
                weight *= float(discounts[row, k])
            total += weight * float(after[row])
            assert float(ours[row, t]) == pytest.approx(total, rel=1e-12, abs=1e-12)


def test_lambda_zero_is_the_error_of_one_step() -> None:
    rewards, values, following, discounts = (_numbers(seed, E, T) for seed in range(4))
    ours = lambda_advantages(rewards, values, following, discounts, torch.zeros(E, T, dtype=torch.float64))
    torch.testing.assert_close(ours, rewards + discounts * following - values, rtol=1e-14, atol=1e-14)


def test_lambdas_of_each_state_mix_the_next_value_and_the_next_return() -> None:
    """G_t = r_{t+1} + g_{t+1} ((1 - l_{t+1}) v_{t+1} + l_{t+1} G_{t+1}) (Sutton and Barto, 2018, equation 12.18)."""
    rewards, values, after = _numbers(0, E, T), _numbers(1, E, T), _numbers(2, E)
    discounts, lambdas = _parts(3, E, T), _parts(4, E, T)
    lambdas[:, -1] = 0.0  # behind the last step nothing is known but the value
    following = torch.cat([values[:, 1:], after[:, None]], 1)
    ours = lambda_advantages(rewards, values, following, discounts, lambdas) + values
    for row in range(E):
        total = 0.0
        for t in reversed(range(T)):
            mixed = (1 - lambdas[row, t]) * following[row, t] + lambdas[row, t] * total
            total = float(rewards[row, t] + discounts[row, t] * mixed)
            assert float(ours[row, t]) == pytest.approx(total, rel=1e-12, abs=1e-12)


def test_derivatives_are_finite_differences() -> None:
    inputs = [_numbers(0, 2, 5), _numbers(1, 2, 5), _numbers(2, 2, 5), _parts(3, 2, 5), _parts(4, 2, 5)]
    leaves = [each.requires_grad_() for each in inputs]
    assert torch.autograd.gradcheck(lambda_advantages, leaves)
    assert torch.autograd.gradgradcheck(lambda_advantages, leaves)
    numbers = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.8, 0.6)]
    assert torch.autograd.gradcheck(
        lambda discount, gae_lambda: lambda_advantages(*inputs[:3], discount, gae_lambda * torch.ones_like(inputs[0])),
        numbers,
    )


def test_maps_and_leading_dimensions_are_rows_one_by_one() -> None:
    inputs = [_numbers(seed, 4, E, T) for seed in range(3)] + [_parts(3, 4, E, T), _parts(4, 4, E, T)]
    whole = lambda_advantages(*inputs)
    torch.testing.assert_close(torch.func.vmap(lambda_advantages)(*inputs), whole, rtol=1e-13, atol=1e-13)
    for row in range(4):
        alone = lambda_advantages(*(each[row, 1] for each in inputs))
        torch.testing.assert_close(alone, whole[row, 1], rtol=1e-13, atol=1e-13)
