"""The trust-region step on problems with known answers, in float64."""

import math

import pytest
import torch
from torch import Tensor

from maml_rl.core import TrustRegion, trust_region_step

CURVATURE = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))


def _quadratic_divergence(start: Tensor, point: Tensor) -> float:
    return float(0.5 * (point - start) @ CURVATURE @ (point - start))


def test_a_linear_loss_moves_to_the_radius_along_the_natural_gradient() -> None:
    start, slope = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    settings = TrustRegion(radius=0.02, damping=0.0)
    found, report = trust_region_step(
        start,
        (0.0, 0.0),
        slope,
        lambda v: CURVATURE @ v,
        lambda x: (float(slope @ x), _quadratic_divergence(start, x) * (1 - 1e-12)),
        settings,
    )
    natural = torch.linalg.solve(CURVATURE, slope)
    expected = -math.sqrt(2 * 0.02 / float(slope @ natural)) * natural
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert report.accepted
    assert report.tried == 1
    assert report.divergence_after == pytest.approx(0.02)


def test_lengths_shrink_until_the_divergence_fits() -> None:
    start, slope = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    found, report = trust_region_step(
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
    assert float(found[0]) == pytest.approx(-math.sqrt(0.02) * 0.8**3)


@pytest.mark.parametrize(
    "answer", [(1.0, 0.0), (0.0, 0.0), (-1.0, 1.0), (math.nan, 0.0), (-1.0, math.nan), (-math.inf, 0.0)]
)
def test_a_rejected_search_gives_the_very_same_parameters_back(answer: tuple[float, float]) -> None:
    start = torch.tensor([0.1, 0.2], dtype=torch.float64)
    before, tried = start.clone(), []
    found, report = trust_region_step(
        start,
        (0.0, 0.0),
        torch.ones(2, dtype=torch.float64),
        lambda v: CURVATURE @ v,
        lambda x: (tried.append(1), answer)[1],
        TrustRegion(),
    )
    assert found is start
    assert torch.equal(start, before)
    assert not report.accepted
    assert len(tried) == report.tried == 15


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (0.0, math.inf)])
def test_a_loss_or_gradient_that_is_not_finite_is_refused(loss: float, gradient: float) -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        trust_region_step(
            torch.zeros(2), (loss, 0.0), torch.full((2,), gradient), lambda v: v, lambda x: (0.0, 0.0), TrustRegion()
        )
