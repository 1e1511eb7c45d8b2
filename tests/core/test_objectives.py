"""Which points of a path each objective counts."""

import pytest

from maml_rl.core import final, uniform, weighted


def test_points_and_weights() -> None:
    assert final().points(0) == [(0, 1.0)]
    assert final().points(3) == [(3, 1.0)]
    assert uniform().points(4) == [(k, 0.25) for k in (1, 2, 3, 4)]
    assert weighted([0.25, 0.0, 0.75]).points(2) == [(0, 0.25), (2, 0.75)]


def test_objectives_that_do_not_fit_the_path_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one, got 0"):
        uniform().points(0)
    with pytest.raises(ValueError, match=r"K \+ 1 = 2 entries"):
        weighted([1.0]).points(1)
    for wrong in ([0.0, 0.0], [float("nan"), 1.0], [-1.0, 2.0], [1.0, 1.0]):
        with pytest.raises(ValueError, match="sum to 1"):
            weighted(wrong)


def test_weights_that_are_no_average_are_refused() -> None:
    for wrong in ([0.0, 0.0], [float("nan"), 1.0], [-1.0, 2.0], [1.0, 1.0]):
        with pytest.raises(ValueError, match="sum to 1"):
            weighted(wrong)
