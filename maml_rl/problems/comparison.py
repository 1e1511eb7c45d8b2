"""Optimisers side by side: many trainings by each, at many learning rates, and what is best of those."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.rules import adam, momentum
from maml_rl.core.rules.decays import DECAYS, share_of
from maml_rl.core.rules.language import Language
from maml_rl.core.rules.programmed import programmed
from maml_rl.core.traced import traced
from maml_rl.core.types import InnerState, Meta, Rule
from maml_rl.problems.problem import TrainingProblem, inner_loss

__all__ = ["BASELINES", "RATES", "Tuned", "interquartile_mean", "running_means", "trained", "tuned"]

Array = NDArray[np.float64]

RATES = tuple(float(rate) for rate in 10 ** np.linspace(-5, 1.5, 14))
"""Half a decade apart, from 1e-5 to 30: as many as the baselines of VeLO have (Metz et al., 2022)."""

_WORTH_RECORDING = 100  # steps

_RMSPROP = Language(1, ("rmsprop",), ("{}",), ("{}",))


def _steady(rate: Tensor) -> Any:
    return lambda step: rate


def _to_zero(rate: Tensor, horizon: int) -> Any:
    return lambda step: rate * DECAYS["cosine"](share_of(step, horizon)).to(rate)


BASELINES: dict[str, Callable[[Tensor, int], Rule]] = {
    "adam": lambda rate, horizon: adam(_steady(rate)),
    "adam_cosine": lambda rate, horizon: adam(_to_zero(rate, horizon)),
    "momentum": lambda rate, horizon: momentum(_steady(rate)),
    "rmsprop": lambda rate, horizon: programmed(_RMSPROP, [[0, 0, 0, 0, 0]], rate, horizon),
}
"""Rules of a learning rate and of the steps of a training, which learned optimisers are held against. Momentum's decay
is 0.9; "adam_cosine" goes to a rate of 0 along half a cosine wave, the others' rates are constant."""


def trained(
    problem: TrainingProblem,
    rule: Callable[[Tensor, int], Rule],
    meta: Meta,
    rates: Tensor,
    seeds: Tensor,
    steps: int,
    progress: Callable[[int], object] = lambda done: None,
) -> Array:
    """The losses of B trainings side by side, f_k before step k, [B, steps].

    Args:
        problem: what is trained.
        rule: of a learning rate and of `steps`.
        meta: meta-parameters that the rule reads.
        rates: of the trainings, [B].
        seeds: of the trainings, [B].
        steps: of each.
        progress: is told the steps that are done.
    """

    value = inner_loss(problem)

    def one(theta: Meta, rate: Tensor, seed: Tensor, state: InnerState, k: Tensor) -> tuple[InnerState, Tensor]:
        moving = rule(rate, steps)
        signal, loss = moving.observe(value, state, (seed, k), theta, k)  # type: ignore[arg-type]
        powers: Any = k.double()  # a plain number to the power of a whole one is float32, whatever the parameters are
        return moving.move(signal, state, theta, powers)._replace(aux=()), loss

    def begun(rate: Tensor, seed: Tensor) -> InnerState:
        params = problem.initial(seed)
        return InnerState(params, rule(rate, steps).start(params, meta))

    mapped = torch.func.vmap(one, (None, 0, 0, 0, None))
    advance = traced(mapped) if steps >= _WORTH_RECORDING else mapped
    losses = []
    with torch.no_grad():
        state = torch.func.vmap(begun)(rates, seeds)
        for k in range(steps):
            state, loss = advance(meta, rates, seeds, state, torch.tensor(k, device=seeds.device))
            losses.append(loss)
            progress(k + 1)
    return torch.stack(losses, 1).double().cpu().numpy()


class Tuned(NamedTuple):
    """The best learning rate of an optimiser on a problem.

    Attributes:
        rate: the one with the least mean loss at the end.
        losses: of all seeds at that rate, [seeds, steps].
        ends: mean loss at the end for each rate, nan where a training diverged.
    """

    rate: float
    losses: Array
    ends: Array


def tuned(losses: Array, rates: Sequence[float], window: int) -> Tuned:
    """The best of R rates, from losses [R, seeds, steps]; the end is the mean of the last `window` steps.

    Raises:
        ValueError: all rates diverge.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        ends = losses[..., -window:].mean((1, 2))
    ends = np.where(np.isfinite(ends), ends, np.nan)
    if np.isnan(ends).all():
        raise ValueError("every learning rate diverges.")
    best = int(np.nanargmin(ends))
    return Tuned(float(rates[best]), losses[best], ends)


def running_means(curve: Array, window: int) -> Array:
    """The mean of each run of `window` entries of a curve [K], [K - window + 1]."""
    sums = np.concatenate([[0.0], np.cumsum(curve)])
    return (sums[window:] - sums[:-window]) / window


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the middle half of the values; those at its edges count by their share (Agarwal et al., 2021)."""
    ordered, count = np.sort(np.asarray(values, dtype=float)), len(values)
    places = np.arange(count)
    share = np.clip(np.minimum(places + 1, 0.75 * count) - np.maximum(places, 0.25 * count), 0, None)
    return float((ordered[share > 0] * share[share > 0]).sum() / share.sum())
