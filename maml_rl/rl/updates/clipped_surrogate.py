"""Outer updates by Adam: several epochs on a clipped surrogate, held near the sampling policy (ProMP, PPO).

Rothfuss et al. (2019, algorithm 1, equation 14); Schulman et al. (2017).
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.meta_optimisers import MetaOptimiser, Update, adam_start, adam_step, require_finite_gradient
from maml_rl.core.schedules import Schedule
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Meta
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.losses import clipped_surrogate, divergence
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate, Target, require_finite, weighted_surrogate

__all__ = ["ClippedSettings", "clipped_epochs", "clipped_loss", "next_penalties"]


class ClippedSettings(NamedTuple):
    """Settings of the update.

    Attributes:
        epochs: steps on the same data.
        clip: of the likelihood ratio; infinity for none.
        penalty: eta_k of the divergence from the policy that sampled before inner step k, at the beginning.
        kl_target: moves each eta after an update so that its divergence stays near; None for constant ones.
    """

    epochs: int = 5
    clip: float = 0.3
    penalty: float = 0.0
    kl_target: float | None = None


def clipped_epochs(schedule: Schedule, settings: ClippedSettings, steps: int) -> MetaOptimiser[MetaSurrogate]:
    """Epochs of Adam on the clipped surrogate. Its memory holds Adam's, and the penalty of each inner step, [K].

    Args:
        schedule: Adam's learning rate in each meta-iteration.
        settings: see `ClippedSettings`.
        steps: K. The problem has to watch the points before adaptation.
    """

    def init(meta: Meta) -> dict[str, Any]:
        return {"adam": adam_start(meta), "penalties": torch.full((steps,), settings.penalty, dtype=torch.float64)}

    def update(meta: Meta, memory: dict[str, Any], problem: MetaSurrogate, iteration: int) -> Update:
        penalties: Tensor = memory["penalties"]
        anchored, etas = problem.anchor(flatten(meta)), penalties.tolist()

        def loss(targets: list[Target], new: list[Distribution]) -> Tensor:
            return clipped_loss(targets, new, settings.clip, etas, problem.tasks)

        moved, adam = meta, memory["adam"]
        for _ in range(settings.epochs):
            losses, vector = anchored.descend(flatten(moved), loss)
            require_finite(losses)
            gradient = unflatten(vector, meta)
            require_finite_gradient(gradient)
            moved, adam = adam_step(moved, gradient, adam, schedule(iteration))
        after, _ = anchored.evaluate(flatten(moved))
        require_finite(after)
        divergences = anchored.divergences(flatten(moved))
        following = penalties
        if settings.kl_target is not None:
            following = next_penalties(penalties, divergences, settings.kl_target)
        metrics = {
            "surrogate_before": anchored.before[0],
            "surrogate_after": float(after.mean()),
            "kl_after": divergences[steps],
            **{f"kl_step_{step}": divergences[step] for step in range(steps)},
            **{f"kl_penalty_step_{step}": eta for step, eta in enumerate(etas)},
        }
        return Update(moved, {"adam": adam, "penalties": following}, metrics)

    return MetaOptimiser("clipped_epochs", init, update)


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
    following = penalties.clone()
    for step in range(len(penalties)):
        if divergences[step] > 1.5 * target:
            following[step] *= 2
        elif divergences[step] < target / 1.5:
            following[step] /= 2
    return following
