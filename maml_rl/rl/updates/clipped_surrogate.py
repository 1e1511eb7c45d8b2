"""Outer updates by Adam: several epochs on a clipped surrogate, held near the sampling policy (ProMP, PPO).

Rothfuss et al. (2019, algorithm 1, equation 14); Schulman et al. (2017).
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.optimisers import AdamState, adam_step
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.losses import clipped_surrogate, divergence
from maml_rl.rl.updates.meta_surrogate import MetaProblem, Target, require_finite, weighted_surrogate

__all__ = ["ClippedReport", "ClippedSettings", "clipped_loss", "clipped_step", "next_penalties"]


class ClippedSettings(NamedTuple):
    """Settings of the update.

    Attributes:
        rate: of Adam.
        epochs: steps on the same data.
        clip: of the likelihood ratio; infinity for none.
    """

    rate: float = 1e-3
    epochs: int = 5
    clip: float = 0.3


class ClippedReport(NamedTuple):
    """What an update did: mean surrogate before and after, without penalties, and the divergence of each point."""

    loss_before: float
    loss_after: float
    divergences: dict[int, float]


def clipped_step(
    problem: MetaProblem, params: Params, adam: AdamState, penalties: Tensor, settings: ClippedSettings
) -> tuple[Params, AdamState, ClippedReport]:
    """`epochs` steps of Adam from `params` on a problem over their own trajectories.

    Args:
        problem: the meta-objective.
        params: the meta-parameters that sampled.
        adam: its moments.
        penalties: eta_k of the divergence from the policy that sampled before inner step k, [K].
        settings: see `ClippedSettings`.

    Raises:
        FloatingPointError: a loss or a gradient is not finite; the message names the task.
        SamplerMismatchError: see `MetaProblem.linearise`.
    """
    problem.anchor(flatten(params))
    before, _ = problem.evaluate(flatten(params))
    etas = penalties.tolist()

    def loss(targets: list[Target], new: list[Distribution]) -> Tensor:
        return clipped_loss(targets, new, settings.clip, etas, problem.tasks)

    moved, moments = params, adam
    for _ in range(settings.epochs):
        losses, gradient = problem.descend(flatten(moved), loss)
        require_finite(losses)
        if not torch.isfinite(gradient).all():
            raise FloatingPointError("the meta-gradient is not finite; the parameters were left as they were.")
        moved, moments = adam_step(moved, unflatten(gradient, params), moments, settings.rate)
    after, _ = problem.evaluate(flatten(moved))
    require_finite(after)
    report = ClippedReport(float(before.mean()), float(after.mean()), problem.divergences(flatten(moved)))
    return moved, moments, report


def clipped_loss(
    targets: list[Target], new: list[Distribution], clip: float, penalties: list[float], tasks: int
) -> Tensor:
    """sum_k v_k L_k^clip + sum_{k < K} eta_k KL_k of each task, divided by N, [n]."""
    total = weighted_surrogate(targets, new, partial(clipped_surrogate, clip=clip))
    for target, act in zip(targets, new, strict=True):
        if target.step < len(penalties) and penalties[target.step]:
            total = total + penalties[target.step] / tasks * divergence(target.old, act, target.batch)
    return total


def next_penalties(penalties: Tensor, divergences: dict[int, float], target: float) -> Tensor:
    """Doubled where the divergence was above 1.5 times the target, halved where below the target / 1.5, [K].

    Schulman et al. (2017, section 4), for each inner step (Rothfuss et al., 2019, authors' code).
    """
    found = penalties.clone()
    for step in range(len(penalties)):
        if divergences[step] > 1.5 * target:
            found[step] *= 2
        elif divergences[step] < target / 1.5:
            found[step] /= 2
    return found
