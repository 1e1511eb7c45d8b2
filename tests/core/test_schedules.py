"""Learning rates at given steps."""

import math

import pytest

from maml_rl.core import constant, cosine, halved_after_first, linear, listed


def test_rates_of_inner_steps() -> None:
    assert [halved_after_first(0.1)(k) for k in range(4)] == [0.1, 0.05, 0.05, 0.05]
    assert [listed([3, 2, 1])(k) for k in range(5)] == [3, 2, 1, 1, 1]
    assert [constant(0.5)(k) for k in (0, 9)] == [0.5, 0.5]
    for wrong in ([], [-0.1], [float("nan")], [float("inf")]):
        with pytest.raises(ValueError, match="learning rates"):
            listed(wrong)


def test_a_line_reaches_its_end_at_the_last_step() -> None:
    assert [linear(1.0, 0.0, 5)(k) for k in (0, 1, 2, 4, 9)] == [1.0, 0.75, 0.5, 0.0, 0.0]
    assert linear(1.0, 0.0, 1)(0) == 1.0


def test_cosine_annealing() -> None:
    schedule = cosine(1e-3, 1e-5, 10)
    assert schedule(0) == 1e-3
    assert math.isclose(schedule(5), (1e-3 + 1e-5) / 2)
    for end in (10, 70):
        assert math.isclose(schedule(end), 1e-5)


def test_a_cosine_in_stairs_counts_whole_ones() -> None:
    """10 steps in stairs of 4 are three stairs: k = 0, 1, 2 of 3."""
    schedule, by_epoch = cosine(1.0, 0.0, 10, every=4), cosine(1.0, 0.0, 3)
    assert [schedule(k) for k in range(10)] == [by_epoch(k // 4) for k in range(10)]
    assert len({schedule(k) for k in range(10)}) == 3
