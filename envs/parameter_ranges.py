"""What a task's parameter may be and how it is drawn: intervals, choices, discs, distributions over choices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Choice", "Disc", "Interval", "Normal", "Outside", "Range", "Semicircle", "Simplex", "WholeNumbers"]

_ROUNDING = 1e-6


@runtime_checkable
class Range(Protocol):
    """The values of one task parameter.

    Attributes:
        shape: of one value; () for a number.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one value."""

    def draw(self, rng: np.random.Generator) -> Any:
        """One value: a number, or an array of `shape`."""

    def holds(self, value: NDArray[np.float64]) -> bool:
        """Whether a value of the right shape is one of them."""

    def __str__(self) -> str:
        """What the values are, for messages: "within 0 and 2"."""


@dataclass(frozen=True)
class Interval:
    """Uniform between two bounds: numbers, or vectors of one length."""

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]

    def __post_init__(self) -> None:
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        if low.shape != high.shape or low.ndim > 1 or not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(f"a task range needs finite bounds of one shape, got {self.low} and {self.high}.")
        if (low > high).any():
            raise ValueError(f"a task range needs low <= high, got {self.low} and {self.high}.")

    @property
    def shape(self) -> tuple[int, ...]:
        return np.shape(self.low)

    def draw(self, rng: np.random.Generator) -> Any:
        return rng.uniform(self.low, self.high)

    def holds(self, value: NDArray[np.float64]) -> bool:
        low, high = np.asarray(self.low), np.asarray(self.high)
        slack = 1e-5 * (high - low)  # pi has more digits than people type
        return bool(((value >= low - slack) & (value <= high + slack)).all())

    def __str__(self) -> str:
        return f"within {_shortened(self.low)} and {_shortened(self.high)}"


@dataclass(frozen=True)
class Choice:
    """One of some numbers, all equally likely."""

    values: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    def draw(self, rng: np.random.Generator) -> Any:
        return self.values[rng.integers(len(self.values))]

    def holds(self, value: NDArray[np.float64]) -> bool:
        return bool(np.isclose(value, self.values, rtol=1e-3, atol=1e-9).any())

    def __str__(self) -> str:
        return "one of " + ", ".join(f"{value:g}" for value in self.values)


@dataclass(frozen=True)
class WholeNumbers:
    """Whole numbers between two bounds, which are among them, all equally likely."""

    low: int
    high: int

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    def draw(self, rng: np.random.Generator) -> Any:
        return int(rng.integers(self.low, self.high + 1))

    def holds(self, value: NDArray[np.float64]) -> bool:
        return bool(self.low <= value <= self.high and value == np.floor(value))

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Disc:
    """Uniform over the disc of a radius around the origin, [2]."""

    radius: float

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def draw(self, rng: np.random.Generator) -> Any:
        angle = rng.uniform(-np.pi, np.pi)
        return self.radius * np.sqrt(rng.uniform()) * np.array([np.cos(angle), np.sin(angle)])

    def holds(self, value: NDArray[np.float64]) -> bool:
        return bool(np.hypot(*value) <= self.radius * (1 + _ROUNDING))

    def __str__(self) -> str:
        return f"at most {self.radius:g} from the origin"


@dataclass(frozen=True)
class Semicircle:
    """Uniform over the upper half of a circle around the origin, [2]."""

    radius: float

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def draw(self, rng: np.random.Generator) -> Any:
        angle = rng.uniform(0, np.pi)
        return self.radius * np.array([np.cos(angle), np.sin(angle)])

    def holds(self, value: NDArray[np.float64]) -> bool:
        near = abs(np.hypot(*value) - self.radius) <= 0.01 * self.radius  # what somebody types is rounded
        return bool(near and value[1] >= -0.01 * self.radius)

    def __str__(self) -> str:
        return f"on the upper half of the circle of radius {self.radius:g} around the origin"


@dataclass(frozen=True)
class Outside:
    """Places of another range, [2], that lie in none of some discs (x, y, radius)."""

    places: Range
    discs: tuple[tuple[float, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.places.shape

    def draw(self, rng: np.random.Generator) -> Any:
        for _ in range(10_000):
            value = self.places.draw(rng)
            if self._is_outside(value):
                return value
        raise ValueError(f"the discs {self.discs} leave no place {self.places}.")

    def holds(self, value: NDArray[np.float64]) -> bool:
        return self.places.holds(value) and self._is_outside(value)

    def __str__(self) -> str:
        return f"{self.places}, outside of all obstacles"

    def _is_outside(self, value: NDArray[np.float64]) -> bool:
        return all(np.hypot(value[0] - x, value[1] - y) > radius for x, y, radius in self.discs)


@dataclass(frozen=True)
class Normal:
    """Independent normal numbers of one mean and deviation; any finite number is allowed."""

    mean: float
    std: float
    shape: tuple[int, ...] = ()

    def draw(self, rng: np.random.Generator) -> Any:
        return rng.normal(self.mean, self.std, self.shape)

    def holds(self, value: NDArray[np.float64]) -> bool:
        return bool(np.isfinite(value).all())

    def __str__(self) -> str:
        return f"finite numbers of shape {self.shape}" if self.shape else "a finite number"


@dataclass(frozen=True)
class Simplex:
    """Probabilities along the last axis, Dirichlet-distributed with all concentrations alike."""

    shape: tuple[int, ...]
    concentration: float = 1.0

    def draw(self, rng: np.random.Generator) -> Any:
        return rng.dirichlet(np.full(self.shape[-1], self.concentration), self.shape[:-1])

    def holds(self, value: NDArray[np.float64]) -> bool:
        return bool((value >= 0).all() and (np.abs(value.sum(-1) - 1) <= _ROUNDING).all())

    def __str__(self) -> str:
        return f"of shape {self.shape}, not negative, and 1 in sum along the last axis"


def _shortened(value: float | Sequence[float]) -> str:
    if np.ndim(value) and len(np.asarray(value)) > 4:
        alike = np.unique(np.asarray(value))
        return f"{alike[0]:g} in {len(np.asarray(value))} entries" if len(alike) == 1 else f"{alike[0]:g}, ..."
    return str(value)
