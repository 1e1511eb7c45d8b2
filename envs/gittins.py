"""The Gittins index of a Bernoulli arm: what an agent that knows nothing but the prior does at best (Gittins, 1979)."""

from functools import lru_cache

import numpy as np

from envs.task_distribution import Array

__all__ = ["gittins_index", "gittins_returns"]

_DEPTH = 200
_TOLERANCE = 1e-7


@lru_cache(maxsize=100_000)
def gittins_index(wins: int, losses: int, discount: float = 0.9, depth: int = _DEPTH) -> float:
    """The sure reward per pull that is worth as much as an arm with a Beta(wins, losses) chance, by calibration.

    V(a, b) = max(m / (1 - g), p (1 + g V(a + 1, b)) + (1 - p) g V(a, b + 1)), p = a / (a + b); the index is the m at
    which both sides are alike. The recursion ends after `depth` pulls, where p is taken for known.

    Args:
        wins: a, at least 1; 1 and 1 is the uniform prior.
        losses: b, at least 1.
        discount: g, in (0, 1).
        depth: pulls that are looked ahead.
    """
    low, high = wins / (wins + losses), 1.0
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if _gain(wins, losses, discount, depth, middle) > 0 else (low, middle)
    return (low + high) / 2


def _gain(wins: int, losses: int, discount: float, depth: int, sure: float) -> float:
    """What pulling the arm once and going on is worth more than the sure reward for ever."""
    retired = sure / (1 - discount)
    more = np.arange(depth + 1)
    chances = (wins + more) / (wins + losses + depth)
    values = np.maximum(retired, chances / (1 - discount))
    pulled = np.full(1, retired)
    for pulls in range(depth - 1, -1, -1):
        chances = (wins + more[: pulls + 1]) / (wins + losses + pulls)
        pulled = chances * (1 + discount * values[1:]) + (1 - chances) * discount * values[:-1]
        values = np.maximum(retired, pulled)
    return float(pulled[0] - retired)


def gittins_returns(chances: Array, pulls: int, rng: np.random.Generator, discount: float = 0.9) -> Array:
    """Rewards of an agent that always pulls the arm of the largest index, from the uniform prior on.

    Args:
        chances: of the arms, [n, k], for n bandits.
        pulls: how many.
        rng: of the rewards; the first of equal arms is pulled.
        discount: of the index.

    Returns:
        [n, pulls], 0 or 1.
    """
    count, arms = chances.shape
    wins, losses = np.ones((count, arms), int), np.ones((count, arms), int)
    rewards, rows = np.zeros((count, pulls)), np.arange(count)
    for pull in range(pulls):
        index = [
            [gittins_index(int(a), int(b), discount) for a, b in zip(*each, strict=True)]
            for each in zip(wins, losses, strict=True)
        ]
        chosen = np.argmax(index, axis=1)
        won = rng.random(count) < chances[rows, chosen]
        wins[rows, chosen] += won
        losses[rows, chosen] += ~won
        rewards[:, pull] = won
    return rewards
