"""One local learning rule that all synapses share (Bengio, Bengio and Cloutier, 1991; Bengio et al., 1992)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from maml_rl.core.types import Batch, InnerState, Loss, Meta, Params, Rule

__all__ = ["ADDED", "COEFFICIENTS", "RULE", "TERMS", "Activity", "initial_synaptic", "rule_of", "synaptic"]

RULE, COEFFICIENTS = "rule", "coefficients"
"""The group of meta-parameters that `synaptic` reads, and the name of the one tensor in it."""

TERMS = ("1", "y", "x", "m", "y m", "m w", "y w", "x y", "x m")
"""What theta_0 to theta_8 stand before: x is the activity before the synapse, y behind it, w its weight, m the
modulator of the unit behind it."""

ADDED = ("x m",)
"""Terms that are not among the eight of the paper. With this one the delta rule is a point of the family."""


class Activity(NamedTuple):
    """What the synapses of one layer can know of a presentation; `torch.func.vmap` maps it over learners.

    Attributes:
        before: x, activities of the units that the synapses come from, [in].
        behind: y, activities of the units that they go to, [out].
        modulator: m of the units that they go to, [out], such as the error of an output unit.
    """

    before: Tensor
    behind: Tensor
    modulator: Tensor


def rule_of(values: Mapping[str, float], dtype: torch.dtype = torch.float32) -> Meta:
    """Meta-parameters of a rule of few terms: ``{"x y": rate}`` is Hebb's, ``{"x m": rate}`` the delta rule.

    With errors for modulators the delta rule is that of Widrow and Hoff (1960).

    Args:
        values: coefficients of some `TERMS`; the others are 0.
        dtype: of the coefficients.

    Raises:
        ValueError: there is no such term.
    """
    unknown = [term for term in values if term not in TERMS]
    if unknown:
        raise ValueError(f"there is no term {unknown[0]!r}; there are {', '.join(TERMS)}.")
    return {RULE: {COEFFICIENTS: torch.tensor([values.get(term, 0.0) for term in TERMS], dtype=dtype)}}


def initial_synaptic(std: float, generator: Generator, dtype: torch.dtype = torch.float32) -> Params:
    """Meta-parameters of `synaptic`: coefficients [9], normal with this standard deviation.

    Args:
        std: of each coefficient.
        generator: draws them.
        dtype: of the coefficients.
    """
    drawn = torch.randn(len(TERMS), generator=generator, dtype=torch.float64)
    return {COEFFICIENTS: (std * drawn).to(dtype)}


def synaptic() -> Rule:
    """w_ij += theta . (1, y_i, x_j, m_i, y_i m_i, m_i w_ij, y_i w_ij, x_j y_i, x_j m_i), the same theta everywhere.

    The first eight terms are those of Bengio et al. (1991), the last one is added (see `ADDED`). The rule descends no
    gradient: it observes activities. Its loss returns them as its further result, an `Activity` for each of the
    parameters by name; every parameter is a weight [out, in], and a bias is the weight from a unit that is always 1.
    Nothing but what stands in a synapse's own row and column moves it. theta is ``meta["rule"]["coefficients"]``.
    """

    def observe(loss: Loss, state: InnerState, batch: Batch, meta: Meta, step: int) -> tuple[Any, Any]:
        activities = loss(state.params, batch, meta, step)[1]
        return activities, activities

    def move(signal: dict[str, Activity], state: InnerState, meta: Meta, step: int) -> InnerState:
        theta = meta[RULE][COEFFICIENTS]
        moved = {name: weight + _change(theta, weight, signal[name]) for name, weight in state.params.items()}
        return InnerState(moved)

    return Rule("synaptic", lambda params, meta: (), observe, move)


def _change(theta: Tensor, weight: Tensor, activity: Activity) -> Tensor:
    """dw [out, in]: what is the same for a whole row, times 1, x_j and w_ij."""
    one, y, x, m, y_m, m_w, y_w, x_y, x_m = theta.unbind()
    before, behind, modulator = activity.before[None], activity.behind[:, None], activity.modulator[:, None]
    alone = one + y * behind + m * modulator + y_m * behind * modulator
    with_input = x + x_y * behind + x_m * modulator
    with_weight = m_w * modulator + y_w * behind
    return alone + with_input * before + with_weight * weight
