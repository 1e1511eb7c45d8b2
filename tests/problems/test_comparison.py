"""Trainings side by side against plain loops, and the statistics that optimisers are compared by."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from maml_rl.problems import bowl, in_precision, quadratic
from maml_rl.problems.comparison import BASELINES, RATES, interquartile_mean, running_means, trained, tuned

SEEDS, STEPS = torch.tensor([3, 4]), 6
THEIRS: dict[str, Callable[..., Any]] = {
    "adam": torch.optim.Adam,
    "adam_cosine": torch.optim.Adam,
    "momentum": lambda leaves, rate: torch.optim.SGD(leaves, rate, momentum=0.9),
    "rmsprop": lambda leaves, rate: torch.optim.RMSprop(leaves, rate, alpha=0.999),
}


@pytest.mark.parametrize("name", BASELINES)
def test_trainings_side_by_side_are_those_of_torchs_optimisers(name: str) -> None:
    problem, rates = in_precision(quadratic(5), torch.float64), torch.tensor([0.01, 0.1], dtype=torch.float64)
    told: list[int] = []
    losses = trained(problem, BASELINES[name], {}, rates, SEEDS, STEPS, told.append)
    assert told == list(range(1, STEPS + 1))
    for row, rate, seed in zip(losses, rates.tolist(), SEEDS, strict=True):
        x = problem.initial(seed)["x"].requires_grad_()
        optimiser = THEIRS[name]([x], rate)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS - 1)
        for k in range(STEPS):
            optimiser.zero_grad()
            loss = problem.loss({"x": x}, seed, torch.tensor(k))
            assert row[k] == pytest.approx(loss.item(), rel=1e-9)
            loss.backward()
            optimiser.step()
            if name == "adam_cosine":
                falling.step()


def test_the_best_rate_has_the_least_loss_at_the_end() -> None:
    losses = np.array(
        [[[9.0, 3.0, 3.0], [9.0, 1.0, 3.0]], [[9.0, 0.0, 4.0], [9.0, 2.0, 4.0]], [[9.0, np.nan, 0.0]] * 2]
    )
    by_last, by_two = tuned(losses, (0.1, 0.2, 0.3), 1), tuned(losses, (0.1, 0.2, 0.3), 2)
    assert (by_last.rate, by_two.rate) == (0.3, 0.1)
    assert (by_two.losses == losses[0]).all()
    np.testing.assert_array_equal(by_two.ends, [2.5, 2.5, np.nan])
    with pytest.raises(ValueError, match="every learning rate diverges"):
        tuned(np.full((2, 1, 3), np.inf), (0.1, 0.2), 1)


def test_a_good_rate_is_among_those_tried() -> None:
    grid = torch.tensor(RATES, dtype=torch.float64).repeat_interleave(2)
    problem = in_precision(bowl(4), torch.float64)
    losses = trained(problem, BASELINES["adam"], {}, grid, SEEDS.repeat(len(RATES)), 40)
    assert RATES[0] < tuned(losses.reshape(len(RATES), 2, 40), RATES, 4).rate < RATES[-1]


def test_interquartile_means_are_those_of_the_middle_half() -> None:
    values = [9.0, -5.0, 1.0, 2.0, 100.0, 3.0, 4.0, 0.0]
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))
    # Five values: a quarter of the second and of the fourth is cut off, as the first and the last are.
    assert interquartile_mean([1.0, 2.0, 4.0, 8.0, 16.0]) == pytest.approx((0.75 * 2 + 4 + 0.75 * 8) / 2.5)
    assert interquartile_mean([7.0]) == 7.0


def test_running_means_are_those_of_a_plain_loop() -> None:
    curve = np.array([4.0, 2.0, 3.0, 1.0])
    np.testing.assert_allclose(running_means(curve, 3), [np.mean(curve[k : k + 3]) for k in range(2)])
    np.testing.assert_array_equal(running_means(curve, 1), curve)
