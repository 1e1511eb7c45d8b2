"""Problems with lifetimes, in float64, that the laws of the estimators are stated on."""

import torch
from torch import Tensor

from maml_rl.core.estimators import (
    Carry,
    Estimator,
    Lifetimes,
    Problem,
    bootstrapped,
    decayed_trace,
    evolution_strategies,
    persistent_evolution_strategies,
    seeded_normal,
    truncated_unroll,
)
from maml_rl.core.types import Meta

__all__ = ["DESCENT", "ESTIMATORS", "SIZE", "descend", "descent_data", "descent_theta", "estimators", "match",
           "seeded"]  # fmt: skip

SIZE = 3
CURVATURE = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)


def _begin(theta: Meta, seed: Tensor) -> Carry:
    x = theta["start"]["x"] + seeded_normal(seed, SIZE, dtype=torch.float64).to(theta["start"]["x"].dtype)
    return {"x": x, "velocity": torch.zeros_like(x), "seed": seed}


def _step(theta: Meta, carry: Carry, data: Carry, k: Tensor) -> tuple[Carry, Tensor]:
    """Momentum on x'Cx / 2 - b'x with learned rates, C diagonal, a loss that grows with k, and poison on request."""
    rule, curvature = theta["rule"], CURVATURE.to(carry["x"])
    gradient = curvature * carry["x"] - data["b"]
    velocity = torch.sigmoid(rule["momentum"]) * carry["velocity"] - rule["log_rates"].exp() * gradient
    x = carry["x"] + velocity + data["poison"][0]
    # A square root has an infinite derivative at 0, which is what it is taken of where there is poison.
    loss = (1 + 0.1 * k) * (0.5 * curvature * x - data["b"]) @ x + data["poison"][1]
    loss = loss + torch.where(data["poison"][2] > 0, 0.0 * x.sum(), torch.ones_like(loss)).sqrt() - 1.0
    return {"x": x, "velocity": velocity + data["poison"][3], "seed": carry["seed"]}, loss


DESCENT = Problem(_begin, _step)
"""Theta: where x starts, the rates by logarithm, and the momentum."""


def descent_theta(dtype: torch.dtype = torch.float64) -> Meta:
    """Meta-parameters of `DESCENT`."""
    return {
        "start": {"x": torch.tensor([0.5, -1.0, 2.0], dtype=dtype)},
        "rule": {
            "log_rates": torch.tensor([-2.0, -1.5, -2.5], dtype=dtype),
            "momentum": torch.tensor(-0.5, dtype=dtype),
        },
    }


def descent_data(seed: int, count: int, steps: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Data of `steps` steps of `count` lifetimes, without poison."""
    b = torch.randn(count, steps, SIZE, generator=seeded(seed), dtype=torch.float64)
    return {"b": b.to(dtype), "poison": torch.zeros(count, steps, 4, dtype=dtype)}


def descend(theta: Meta, carry: Carry, data: Carry, k: Tensor) -> Carry:
    """A step of plain gradient descent."""
    return {**carry, "x": carry["x"] - 0.1 * (CURVATURE.to(carry["x"]) * carry["x"] - data["b"])}


def match(target: Carry, reached: Carry, data: Carry) -> Tensor:
    """Half the squared distance, weighed by the data."""
    return (0.5 * data["b"].square() * (target["x"] - reached["x"]).square()).sum()


def seeded(seed: int) -> torch.Generator:
    """A generator that begins at `seed`."""
    return torch.Generator().manual_seed(seed)


def estimators(lifetimes: Lifetimes) -> dict[str, Estimator]:
    """Every estimator whose unrolls are shorter than lifetimes, on `DESCENT`, with 5 steps of data: each joins it."""
    return {
        estimator.name: estimator
        for estimator in (
            truncated_unroll(DESCENT, lifetimes, 5),
            decayed_trace(DESCENT, lifetimes, 5, 0.9),
            evolution_strategies(DESCENT, lifetimes, 5, 0.01),
            persistent_evolution_strategies(DESCENT, lifetimes, 5, 0.01),
            bootstrapped(DESCENT, lifetimes, 3, 2, descend, match),
        )
    }


ESTIMATORS = estimators(Lifetimes(6, 13, loss_limit=1e6))
"""Those whose lifetimes share theta and end one after the other."""
