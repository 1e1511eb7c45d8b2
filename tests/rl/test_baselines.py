"""The batched baseline against numpy's least squares, task by task."""

import numpy as np
import pytest
import torch

from maml_rl.rl.baselines import features, fit_linear_baseline, predict

N, E, T, SIZE = 3, 4, 7, 2


def _data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    observations = 8 * torch.randn(N, E, T, SIZE, generator=generator, dtype=torch.float64)
    targets = torch.randn(N, E, T, generator=generator, dtype=torch.float64)
    mask = torch.ones(N, E, T, dtype=torch.float64)
    mask[1, 2, 3:] = 0
    return observations, targets, mask


def test_weights_equal_numpy_lstsq_per_task() -> None:
    observations, targets, mask = _data()
    inputs = features(observations, torch.arange(T)).flatten(1, 2)
    weights = fit_linear_baseline(inputs, targets.flatten(1), mask.flatten(1), ridge=1e-2)
    for task in range(N):
        rows, wanted = [], []
        for episode in range(E):
            for t in range(T):
                if mask[task, episode, t]:
                    o = np.clip(observations[task, episode, t].numpy(), -10, 10)
                    s = t / 100
                    rows.append([*o, *(o**2), s, s**2, s**3, 1.0])
                    wanted.append(float(targets[task, episode, t]))
        size = 2 * SIZE + 4
        # Ridge regression is least squares with sqrt(ridge) I below the data.
        stacked = np.vstack([np.array(rows), np.sqrt(1e-2) * np.eye(size)])
        expected, *_ = np.linalg.lstsq(stacked, np.concatenate([wanted, np.zeros(size)]), rcond=None)
        np.testing.assert_allclose(weights[task].numpy(), expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(predict(weights, inputs)[0].numpy(), inputs[0].numpy() @ weights[0].numpy(), rtol=1e-12)


def test_steps_that_did_not_happen_have_no_say() -> None:
    observations, targets, mask = _data()
    inputs = features(observations, torch.arange(T)).flatten(1, 2)
    before = fit_linear_baseline(inputs, targets.flatten(1), mask.flatten(1))
    inputs[1, 2 * T + 3 : 3 * T] = 5.0
    targets[1, 2, 3:] = 99.0
    after = fit_linear_baseline(inputs, targets.flatten(1), mask.flatten(1))
    assert torch.equal(before, after)


def test_constant_observations_are_solved_by_the_ridge() -> None:
    inputs = features(torch.zeros(N, E, T, SIZE), torch.arange(T)).flatten(1, 2)
    weights = fit_linear_baseline(inputs, torch.ones(N, E * T), torch.ones(N, E * T))
    torch.testing.assert_close(
        predict(weights, inputs), torch.ones(N, E * T, dtype=torch.float64), rtol=1e-4, atol=1e-4
    )


def test_targets_that_are_not_finite_are_refused_with_their_task() -> None:
    observations, targets, mask = _data()
    targets[2, 0, 0] = float("inf")
    inputs = features(observations, torch.arange(T)).flatten(1, 2)
    with pytest.raises(FloatingPointError, match="task 2"):
        fit_linear_baseline(inputs, targets.flatten(1), mask.flatten(1))
