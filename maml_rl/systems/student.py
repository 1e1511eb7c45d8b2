"""Student's t (1908): how many standard errors a 95% interval over a few seeds reaches to each side."""

import math
from functools import lru_cache

__all__ = ["quantile"]

_HALVINGS = 60  # of an angle below pi / 2


@lru_cache(maxsize=64)
def quantile(freedom: int) -> float:
    """The t that P(|T| < t) = 0.95 holds for, with so many degrees of freedom: one less than seeds.

    Raises:
        ValueError: not at least one degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"`freedom` must be at least 1, got {freedom}.")
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        angle = (low + high) / 2
        low, high = (angle, high) if _coverage(angle, freedom) < 0.95 else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def _coverage(angle: float, freedom: int) -> float:
    """P(|T| < t) at t = sqrt(freedom) tan(angle): a finite series (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4)."""
    odd, sine, cosine = freedom % 2, math.sin(angle), math.cos(angle)
    total, term = 0.0, cosine if odd else 1.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
