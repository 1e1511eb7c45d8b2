"""The trust-region step on problems with known answers, in float64."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import TrustRegion, trust_region
from maml_rl.core.trust_region import trust_region_step

CURVATURE = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))


def _quadratic_divergence(start: Tensor, point: Tensor) -> float:
    return float(0.5 * (point - start) @ CURVATURE @ (point - start))


def test_a_linear_loss_moves_to_the_radius_along_the_natural_gradient() -> None:
    start, slope = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    settings = TrustRegion(radius=0.02, damping=0.0)
    reached, report = trust_region_step(
        start,
        (0.0, 0.0),
        slope,
        lambda v: CURVATURE @ v,
        lambda x: (float(slope @ x), _quadratic_divergence(start, x) * (1 - 1e-12)),
        settings,
    )
    natural = torch.linalg.solve(CURVATURE, slope)
    expected = -math.sqrt(2 * 0.02 / float(slope @ natural)) * natural
    torch.testing.assert_close(reached, expected, rtol=1e-10, atol=1e-12)
    assert report.accepted
    assert report.tried == 1
    assert report.divergence_after == pytest.approx(0.02)


def test_lengths_shrink_until_the_divergence_fits() -> None:
    start, slope = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    reached, report = trust_region_step(
        start,
        (0.0, 0.0),
        slope,
        lambda v: CURVATURE @ v,
        lambda x: (float(slope @ x), 3 * _quadratic_divergence(start, x)),  # the model is three times too small
        TrustRegion(radius=0.01, damping=0.0, shrink=0.8),
    )
    # 0.8^(2 j) * 3 <= 1 first at j = 3.
    assert report.tried == 4
    assert report.divergence_after <= 0.01
    assert float(reached[0]) == pytest.approx(-math.sqrt(0.02) * 0.8**3)


@pytest.mark.parametrize(
    "answer", [(1.0, 0.0), (0.0, 0.0), (-1.0, 1.0), (math.nan, 0.0), (-1.0, math.nan), (-math.inf, 0.0)]
)
def test_a_rejected_search_gives_the_very_same_parameters_back(answer: tuple[float, float]) -> None:
    start = torch.tensor([0.1, 0.2], dtype=torch.float64)
    before, tried = start.clone(), []
    reached, report = trust_region_step(
        start,
        (0.0, 0.0),
        torch.ones(2, dtype=torch.float64),
        lambda v: CURVATURE @ v,
        lambda x: (tried.append(1), answer)[1],
        TrustRegion(),
    )
    assert reached is start
    assert torch.equal(start, before)
    assert not report.accepted
    assert len(tried) == report.tried == 15


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (0.0, math.inf)])
def test_a_loss_or_gradient_that_is_not_finite_is_refused(loss: float, gradient: float) -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        trust_region_step(
            torch.zeros(2), (loss, 0.0), torch.full((2,), gradient), lambda v: v, lambda x: (0.0, 0.0), TrustRegion()
        )


class _Linear:
    """The loss slope'x with a quadratic divergence around where it is linearised, for a tree of two groups."""

    def __init__(self, slope: Tensor, worse: bool = False) -> None:
        self.slope, self.worse = slope, worse

    def linearise(self, theta: Tensor) -> Any:
        sign = -1 if self.worse else 1
        return SimpleNamespace(
            before=(float(self.slope @ theta), 0.0),
            gradient=lambda: self.slope,
            product=lambda vector: CURVATURE @ vector,
            values=lambda x: (sign * float(self.slope @ x), _quadratic_divergence(theta, x) * (1 - 1e-12)),
        )


def test_as_a_value_it_moves_all_groups_by_the_same_step() -> None:
    meta = {"x": {"a": torch.tensor([0.5], dtype=torch.float64)}, "y": {"b": torch.tensor(0.25, dtype=torch.float64)}}
    slope, settings = torch.tensor([1.0, 2.0], dtype=torch.float64), TrustRegion(radius=0.02, damping=0.0)
    optimiser = trust_region(settings)
    update = optimiser.update(meta, optimiser.init(meta), _Linear(slope), 0)
    natural = torch.linalg.solve(CURVATURE, slope)
    step = math.sqrt(2 * 0.02 / float(slope @ natural)) * natural
    torch.testing.assert_close(update.meta["x"]["a"], meta["x"]["a"] - step[:1])
    torch.testing.assert_close(update.meta["y"]["b"], meta["y"]["b"] - step[1])
    assert update.metrics["kl_after"] == pytest.approx(0.02)
    assert update.metrics["surrogate_after"] < update.metrics["surrogate_before"]
    assert update.metrics["line_search_rejected"] == 0.0
    assert update.metrics["line_search_steps"] == 1.0


def test_as_a_value_it_gives_back_the_same_groups_where_no_length_was_accepted() -> None:
    meta = {"x": {"a": -torch.ones(2, dtype=torch.float64)}}
    update = trust_region(TrustRegion()).update(meta, {}, _Linear(torch.ones(2, dtype=torch.float64), worse=True), 0)
    assert update.meta is meta
    assert update.metrics["line_search_rejected"] == 1.0
    assert update.metrics["surrogate_after"] == update.metrics["surrogate_before"]
