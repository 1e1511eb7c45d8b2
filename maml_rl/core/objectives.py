"""Which points of the adaptation path the meta-objective counts: sum_k v_k L(phi_k)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Objective", "Point", "annealed", "final", "uniform", "weighted"]


class Point(NamedTuple):
    """A point of the path, counted from 0 (before adaptation), and its weight v_k."""

    step: int
    weight: float


class Objective(NamedTuple):
    """A meta-objective: its name, and ``points(K)``, the points of a path of K steps that count."""

    name: str
    points: Callable[[int], list[Point]]


def final() -> Objective:
    """L(phi_K): asymptotic performance, the objective of MAML."""
    return Objective("final", lambda steps: [Point(steps, 1.0)])


def uniform() -> Objective:
    """(1 / K) sum_{k=1..K} L(phi_k): speed of adaptation."""

    def points(steps: int) -> list[Point]:
        if steps < 1:
            raise ValueError("the uniform objective averages over inner steps and needs at least one, got 0.")
        return [Point(index, 1.0 / steps) for index in range(1, steps + 1)]

    return Objective("uniform", points)


def annealed(epoch: int, epochs: int, floor: float = 0.03) -> Objective:
    """From `uniform` at epoch 0 to `final` at epoch `epochs` (Antoniou et al., 2018, section 4, and their code).

    v_k = max(1/K - e/(K E), floor/K) for 1 <= k < K, and v_K is the rest; from e = E on only the last point counts.

    Args:
        epoch: e, from 0.
        epochs: E; 0 is the final objective from the start.
        floor: K times the least weight before epoch E.
    """
    if epoch >= epochs:
        return Objective("annealed", final().points)

    def points(steps: int) -> list[Point]:
        if steps < 1:
            raise ValueError("the annealed objective weighs inner steps and needs at least one, got 0.")
        early = max((1 - epoch / epochs) / steps, floor / steps)
        weights = [early] * (steps - 1)
        return [Point(index, value) for index, value in enumerate([*weights, 1 - sum(weights)], 1)]

    return Objective("annealed", points)


def weighted(weights: Sequence[float]) -> Objective:
    """sum_k weights[k] L(phi_k) over all K + 1 points, the one before adaptation included.

    Raises:
        ValueError: the weights are not finite and non-negative with sum 1.
    """
    values = tuple(float(weight) for weight in weights)
    if not all(0 <= value < float("inf") for value in values) or abs(sum(values) - 1) > 1e-6:
        raise ValueError(f"`weights` must be finite, at least 0 and sum to 1, got {list(values)}.")

    def points(steps: int) -> list[Point]:
        if len(values) != steps + 1:
            raise ValueError(
                f"`weights` must have K + 1 = {steps + 1} entries for {steps} inner steps, got {len(values)}."
            )
        return [Point(index, value) for index, value in enumerate(values) if value != 0.0]

    return Objective("weighted", points)
