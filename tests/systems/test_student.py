"""Student's t against SciPy's."""

import pytest
import torch
from scipy import stats

from maml_rl.systems.meta_gradient_metrics import Columns
from maml_rl.systems.student import quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 63, 200])
def test_it_is_scipys(freedom: int) -> None:
    assert quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_one_seed_has_no_interval() -> None:
    with pytest.raises(ValueError, match="`freedom` must be at least 1, got 0"):
        quantile(0)


def test_intervals_over_seeds_are_students() -> None:
    columns, values = Columns(["a", "b"], 3), torch.tensor([1.0, 2.0, 4.0, 5.0, 5.0, 8.0])
    metrics = columns.means("reward", values)
    for setting, part in (("a", values[:3]), ("b", values[3:])):
        low, high = stats.t.interval(0.95, 2, float(part.mean()), stats.sem(part.numpy()))
        assert metrics[f"reward {setting}"] == pytest.approx(float(part.mean()))
        assert metrics[f"reward {setting}_interval95"] == pytest.approx((high - low) / 2, rel=1e-6)
    assert metrics["reward"] == pytest.approx(float(values.mean()))
    assert "reward_interval95" not in metrics


def test_the_interval_of_a_row_is_that_of_its_means() -> None:
    """Lifetimes that are the same on average, and far apart in each iteration."""
    columns = Columns(["only"], 2)
    iterations = [columns.each("x", torch.tensor(pair)) for pair in ([0.0, 9.0], [9.0, 1.0])]
    means = {name: (iterations[0][name] + iterations[1][name]) / 2 for name in iterations[0]}
    row = columns.row({"seconds": 3.0, **means})
    assert row == {"seconds": 3.0, "x": 4.75, "x_interval95": pytest.approx(stats.t.ppf(0.975, 1) * 0.25)}
    entries = columns.row(columns.each("g", torch.tensor([[1.0, 2.0], [3.0, 6.0]])))
    assert (entries["g_0"], entries["g_1"]) == (2.0, 4.0)
