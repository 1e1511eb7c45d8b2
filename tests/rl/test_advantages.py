"""Returns and advantages against plain loops and Stable-Baselines3, in float64."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from maml_rl.rl.advantages import discounted_returns, generalised_advantages, normalise
from maml_rl.rl.baselines import features, fit_linear_baseline, predict
from maml_rl.rl.estimation import EstimatorConfig, prepare
from maml_rl.rl.sampling.trajectories import Trajectories

LENGTHS = [6, 3, 1, 6]
T = 6


def _episodes() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(T) < torch.tensor(LENGTHS)[:, None]).double()
    rewards = torch.randn(4, T, generator=generator, dtype=torch.float64) * mask
    values = torch.randn(4, T, generator=generator, dtype=torch.float64)
    after = torch.randn(4, generator=generator, dtype=torch.float64)
    return rewards, values, mask, after


def test_returns_equal_a_plain_sum() -> None:
    rewards, *_ = _episodes()
    returns = discounted_returns(rewards, 0.9)
    for episode in range(4):
        for t in range(T):
            expected = sum(0.9 ** (k - t) * float(rewards[episode, k]) for k in range(t, T))
            assert float(returns[episode, t]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.9, 0.7), (1.0, 1.0), (0.99, 0.0)])
def test_advantages_equal_the_definition(discount: float, gae_lambda: float) -> None:
    rewards, values, mask, after = _episodes()
    computed = generalised_advantages(rewards, values, mask, after, discount, gae_lambda)
    for episode, length in enumerate(LENGTHS):
        v = [*values[episode, :length].tolist(), float(after[episode])]
        deltas = [float(rewards[episode, t]) + discount * v[t + 1] - v[t] for t in range(length)]
        for t in range(T):
            expected = (
                sum((discount * gae_lambda) ** (k - t) * deltas[k] for k in range(t, length)) if t < length else 0.0
            )
            assert float(computed[episode, t]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_monte_carlo_and_one_step_are_the_ends_of_lambda() -> None:
    rewards, values, mask, _ = _episodes()
    zero = torch.zeros(4, dtype=torch.float64)
    monte_carlo = generalised_advantages(rewards, values, mask, zero, 0.9, 1.0)
    torch.testing.assert_close(monte_carlo, (discounted_returns(rewards, 0.9) - values) * mask, rtol=1e-12, atol=1e-12)


def test_advantages_equal_those_of_stable_baselines3() -> None:
    from stable_baselines3.common.buffers import RolloutBuffer

    rewards, values, _, after = _episodes()
    ones = torch.ones_like(rewards)
    buffer = RolloutBuffer(T, gym.spaces.Box(-1, 1, (1,)), gym.spaces.Box(-1, 1, (1,)), "cpu", 0.7, 0.9, n_envs=4)
    for t in range(T):
        buffer.add(
            np.zeros((4, 1)),
            np.zeros((4, 1)),
            rewards[:, t].numpy(),
            np.full(4, float(t == 0)),
            values[:, t],
            torch.zeros(4),
        )
    buffer.compute_returns_and_advantage(after, np.zeros(4))
    ours = generalised_advantages(rewards, values, ones, after, 0.9, 0.7)
    np.testing.assert_allclose(ours.T.numpy(), buffer.advantages, rtol=1e-5, atol=1e-5)  # SB3's buffer is float32


def test_advantages_of_episodes_that_end_equal_those_of_stable_baselines3() -> None:
    from stable_baselines3.common.buffers import RolloutBuffer

    rewards, values, mask, _ = _episodes()
    box = gym.spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(sum(LENGTHS), box, box, "cpu", 0.7, 0.9, n_envs=1)
    for episode, length in enumerate(LENGTHS):  # one stream, with a termination behind each episode
        for t in range(length):
            reward, value = rewards[episode, t].reshape(1).numpy(), values[episode, t].reshape(1)
            buffer.add(np.zeros((1, 1)), np.zeros((1, 1)), reward, np.array([float(t == 0)]), value, torch.zeros(1))
    buffer.compute_returns_and_advantage(torch.zeros(1), np.ones(1))
    ours = generalised_advantages(rewards, values, mask, torch.zeros(4, dtype=torch.float64), 0.9, 0.7)
    np.testing.assert_allclose(ours[mask > 0].numpy(), buffer.advantages[:, 0], rtol=1e-5, atol=1e-5)


def test_normalised_advantages_have_mean_zero_and_deviation_one_per_task() -> None:
    _, values, mask, _ = _episodes()
    scaled, scale = normalise(values * 5 + 3, mask)
    count = mask.sum(-1)
    assert torch.equal(scaled * (1 - mask), torch.zeros_like(scaled))
    torch.testing.assert_close((scaled.sum(-1) / count), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    deviation = (scaled.square().sum(-1) / count).sqrt()
    rest = mask.bool()[[0, 1, 3]]
    back = scaled * scale[:, None] - (values * 5 + 3)
    assert all(float(row[valid].std()) < 1e-12 for row, valid in zip(back[[0, 1, 3]], rest, strict=True))
    torch.testing.assert_close(deviation[[0, 1, 3]], torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(deviation[2]) == 0.0  # a task with one step has nothing to compare it with


def _trajectories(terminated: bool) -> Trajectories:
    rewards, _, mask, _ = _episodes()
    generator = torch.Generator().manual_seed(5)
    observations = torch.randn(1, 4, T, 2, generator=generator, dtype=torch.float64)
    return Trajectories(
        observations,
        torch.zeros(1, 4, T, 1),
        rewards[None],
        mask[None],
        torch.zeros(1, 4, T),
        torch.randn(1, 4, 2, generator=generator, dtype=torch.float64),
        torch.full((1, 4), terminated),
    )


def test_time_limits_are_terminal_or_bootstrapped_but_the_tasks_own_ends_never_are() -> None:
    terminal, bootstrap = EstimatorConfig(gae_lambda=0.5), EstimatorConfig(gae_lambda=0.5, time_limit="bootstrap")
    cut, ended = _trajectories(False), _trajectories(True)
    assert torch.equal(prepare(ended, bootstrap).advantages, prepare(ended, terminal).advantages)
    assert torch.equal(prepare(cut, terminal).advantages, prepare(ended, terminal).advantages)
    assert not torch.allclose(prepare(cut, bootstrap).advantages, prepare(cut, terminal).advantages)


def test_sample_weights_average_steps_or_episodes() -> None:
    by_step = prepare(_trajectories(False), EstimatorConfig()).weights.view(4, T)
    by_episode = prepare(_trajectories(False), EstimatorConfig(weighting="episodes")).weights.view(4, T)
    for episode, length in enumerate(LENGTHS):
        assert by_step[episode].tolist() == pytest.approx([1 / 16] * length + [0.0] * (T - length))
        assert by_episode[episode].tolist() == pytest.approx([1 / 4 / length] * length + [0.0] * (T - length))


def test_a_bootstrapped_baseline_finds_the_value_of_a_reward_that_never_ends() -> None:
    horizon = 100
    generator = torch.Generator().manual_seed(0)
    data = Trajectories(
        torch.randn(1, 3, horizon, 2, generator=generator, dtype=torch.float64),
        torch.zeros(1, 3, horizon, 1),
        torch.ones(1, 3, horizon, dtype=torch.float64),
        torch.ones(1, 3, horizon, dtype=torch.float64),
        torch.zeros(1, 3, horizon),
        torch.randn(1, 3, 2, generator=generator, dtype=torch.float64),
        torch.zeros(1, 3, dtype=torch.bool),
    )
    times = torch.arange(horizon)
    inputs = features(data.observations, times).flatten(1, 2)
    closing = features(data.last_observations, torch.full((1, 3), horizon))
    behind = (0.99 ** (horizon - times)[:, None] * closing[:, :, None]).flatten(1, 2)
    targets = discounted_returns(data.rewards, 0.99).flatten(1)
    weights = fit_linear_baseline(inputs, targets, torch.ones_like(targets), 1e-5, behind)
    hundred = torch.full((1, 3 * horizon), 100.0, dtype=torch.float64)  # 1 / (1 - 0.99)
    torch.testing.assert_close(predict(weights, inputs), hundred, rtol=1e-3, atol=0)
    # It is the fixed point of fitting to its own continuation.
    continued = targets + (behind @ weights[..., None])[..., 0]
    again = fit_linear_baseline(inputs, continued, torch.ones_like(targets), 1e-5)
    torch.testing.assert_close(predict(again, inputs), predict(weights, inputs), rtol=1e-6, atol=1e-6)
    # Every step is as good as every other, so nothing is left of the advantages but rounding.
    deltas = generalised_advantages(
        data.rewards, predict(weights, inputs).view(1, 3, horizon), data.mask, predict(weights, closing), 0.99, 1.0
    )
    assert float(deltas.abs().max()) < 0.2
