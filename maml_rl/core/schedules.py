"""Learning rates as functions of the step, for inner steps and for meta-iterations alike."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

__all__ = ["Schedule", "constant", "cosine", "halved_after_first", "linear", "listed"]

Schedule: TypeAlias = Callable[[int], float]
"""``schedule(step)`` is the learning rate of a step, counted from 0."""


def constant(rate: float) -> Schedule:
    """The same rate at every step."""
    return listed([rate])


def halved_after_first(rate: float) -> Schedule:
    """`rate` at the first step, half of it afterwards (Finn et al., 2017, appendix A.2: 0.1, then 0.05)."""
    return listed([rate, rate / 2])


def listed(rates: Sequence[float]) -> Schedule:
    """The k-th rate at step k; the last one goes on for ever.

    Raises:
        ValueError: no rate is given, or one is negative or not finite.
    """
    values = [float(rate) for rate in rates]
    if not values or not all(0 <= rate < float("inf") for rate in values):
        raise ValueError(f"learning rates must be one or more finite numbers of at least 0, got {list(rates)}.")
    return lambda step: values[min(step, len(values) - 1)]


def linear(start: float, end: float, steps: int) -> Schedule:
    """start + (end - start) k / (steps - 1): reaches `end` at the last of `steps` steps and stays there."""
    return lambda step: start + (end - start) * (min(step, steps - 1) / max(steps - 1, 1))


def cosine(start: float, end: float, steps: int, every: int = 1) -> Schedule:
    """end + (start - end) (1 + cos(pi k / steps)) / 2 (Loshchilov and Hutter, 2017).

    Args:
        start: the first rate.
        end: the rate after `steps` steps.
        steps: how many.
        every: the rate changes every so many steps; k counts these.
    """

    def rate(step: int) -> float:
        progress = step // every / math.ceil(steps / every)
        return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2

    return rate
