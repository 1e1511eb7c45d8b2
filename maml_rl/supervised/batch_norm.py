"""Batch normalisation without hidden state, shared or with a set for each inner step (Antoniou et al., 2018)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maml_rl.core.types import Params

__all__ = ["BatchNorm", "batch_norm", "moved_statistics", "no_norm"]

EPSILON, MOMENTUM = 1e-5, 0.1


class BatchNorm(NamedTuple):
    """A normalisation layer, with the names of its tensors prefixed by the layer's.

    Attributes:
        learned: names of its parameters.
        initial: ``initial(name, channels, dtype)``, its parameters.
        statistics: ``statistics(name, channels, dtype)``, its running statistics before training.
        apply: ``apply(params, name, inputs, step, running)``, its outputs and the batch's statistics.
    """

    learned: tuple[str, ...]
    initial: Callable[[str, int, torch.dtype], Params]
    statistics: Callable[[str, int, torch.dtype], Params]
    apply: Callable[[Params, str, Tensor, int, Params | None], tuple[Tensor, Params]]


def batch_norm(keeps_statistics: bool = False, steps: int = 1) -> BatchNorm:
    """y = scale (x - mean) / sqrt(var + 1e-5) + shift over examples and places, for inputs [E, C, height, width].

    Args:
        keeps_statistics: whether the batch's statistics are returned, and running ones used where they are given.
        steps: sets of scale, shift and statistics, [steps, C]; inner steps beyond the last use the last set.
    """

    def initial(name: str, channels: int, dtype: torch.dtype) -> Params:
        ones, zeros = torch.ones(steps, channels, dtype=dtype), torch.zeros(steps, channels, dtype=dtype)
        return {f"{name}.scale": ones, f"{name}.shift": zeros}

    def statistics(name: str, channels: int, dtype: torch.dtype) -> Params:
        if not keeps_statistics:
            return {}
        ones, zeros = torch.ones(steps, channels, dtype=dtype), torch.zeros(steps, channels, dtype=dtype)
        return {f"{name}.mean": zeros, f"{name}.var": ones}

    def apply(params: Params, name: str, inputs: Tensor, step: int, running: Params | None) -> tuple[Tensor, Params]:
        index = min(step, steps - 1)
        scale, shift = params[f"{name}.scale"][index], params[f"{name}.shift"][index]
        if keeps_statistics and running is not None:
            mean, var = running[f"{name}.mean"][index], running[f"{name}.var"][index]
            slope = scale * torch.rsqrt(var + EPSILON)
            return inputs * slope[:, None, None] + (shift - mean * slope)[:, None, None], {}
        outputs = F.batch_norm(inputs, None, None, scale, shift, training=True, eps=EPSILON)
        if not keeps_statistics:
            return outputs, {}
        # The unbiased variance is what running averages are made of, as in torch.nn.BatchNorm2d.
        var, mean = torch.var_mean(inputs.detach(), (0, 2, 3))
        return outputs, {f"{name}.mean": mean, f"{name}.var": var}

    return BatchNorm(("scale", "shift"), initial, statistics, apply)


def no_norm() -> BatchNorm:
    """The identity."""
    return BatchNorm((), lambda *layer: {}, lambda *layer: {}, lambda params, name, inputs, step, running: (inputs, {}))


def moved_statistics(running: Params, seen: Params, step: int) -> Params:
    """r'[k] = 0.9 r[k] + 0.1 s for the set k of inner step `step`; other sets stay.

    Args:
        running: [steps, C] for each statistic.
        seen: [C] for each statistic, already averaged over tasks.
        step: the inner step; those beyond the last set count as the last.
    """
    moved = {}
    for name, leaf in running.items():
        index = min(step, len(leaf) - 1)
        rows = torch.arange(len(leaf), device=leaf.device)[:, None] == index
        moved[name] = torch.where(rows, (1 - MOMENTUM) * leaf + MOMENTUM * seen[name], leaf)
    return moved
