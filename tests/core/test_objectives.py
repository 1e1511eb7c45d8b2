"""Which points of a path each objective counts."""

import math

import pytest
import torch

from maml_rl.core import annealed, annealed_order, final, uniform, weighted


def test_points_and_weights() -> None:
    assert final().points(0) == [(0, 1.0)]
    assert final().points(3) == [(3, 1.0)]
    assert uniform().points(4) == [(k, 0.25) for k in (1, 2, 3, 4)]
    assert weighted([0.25, 0.0, 0.75]).points(2) == [(0, 0.25), (2, 0.75)]


def test_objectives_that_do_not_fit_the_path_are_refused() -> None:
    for objective in (uniform(), annealed(0, 10)):
        with pytest.raises(ValueError, match="at least one, got 0"):
            objective.points(0)
    with pytest.raises(ValueError, match=r"K \+ 1 = 2 entries"):
        weighted([1.0]).points(1)


@pytest.mark.parametrize("wrong", [[0.0, 0.0], [float("nan"), 1.0], [-1.0, 2.0], [1.0, 1.0]], ids=str)
def test_weights_that_are_no_average_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        weighted(wrong)


def test_annealed_weights_at_given_epochs() -> None:
    weights = [point.weight for point in annealed(5, 10).points(5)]
    torch.testing.assert_close(torch.tensor(weights), torch.tensor([0.1, 0.1, 0.1, 0.1, 0.6]))
    # Near the end the floor of 0.03 / K holds: 1/K - e/(K E) = 0.0004 at e = 998.
    late = [point.weight for point in annealed(998, 1000).points(5)]
    torch.testing.assert_close(torch.tensor(late), torch.tensor([0.006] * 4 + [0.976]))


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("epoch", [0, 1, 5, 9])
def test_annealed_weights_sum_to_one(epoch: int, steps: int) -> None:
    points = annealed(epoch, 10).points(steps)
    assert [point.step for point in points] == list(range(1, steps + 1))
    assert math.isclose(sum(point.weight for point in points), 1.0, abs_tol=1e-15)


def test_annealing_begins_uniform_and_ends_final() -> None:
    for steps in (1, 3, 5):
        for ours, plain in zip(annealed(0, 10).points(steps), uniform().points(steps), strict=True):
            assert ours.step == plain.step
            assert math.isclose(ours.weight, plain.weight, rel_tol=1e-15)
        for epoch in (10, 11, 500):
            assert annealed(epoch, 10).points(steps) == final().points(steps)
    assert annealed(0, 0).points(3) == final().points(3)


def test_the_order_changes_after_so_many_iterations() -> None:
    assert [annealed_order(k, 50).name for k in (0, 49, 50, 51)] == ["first_order"] * 2 + ["unrolled"] * 2
    assert annealed_order(0, 0).name == "unrolled"
