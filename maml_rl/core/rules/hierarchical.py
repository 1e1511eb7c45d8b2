"""A learned optimiser of recurrent units on three levels: parameter, tensor, whole (Wichrowska et al., 2017)."""

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from maml_rl.core.initialisation import linear_layers
from maml_rl.core.rules.per_parameter import OPTIMISER
from maml_rl.core.rules.sgd import gradient
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import InnerState, Memory, Meta, Params, Rule

__all__ = ["Units", "hierarchical", "initial_hierarchical"]

SCALES = 4
INPUTS = 3 * SCALES  # of a parameter: SCALES averages, SCALES - 1 products, SCALES magnitudes, one learning rate
_SMALL = 1e-30


class Units(NamedTuple):
    """Units of the recurrent cells (Wichrowska et al., 2017: 10, 20 and 20).

    Attributes:
        parameter: of the cell that all parameters share.
        tensor: of the cell that all tensors share.
        whole: of the cell of the whole problem.
    """

    parameter: int = 10
    tensor: int = 20
    whole: int = 20


def initial_hierarchical(units: Units, generator: Generator, dtype: torch.dtype = torch.float32) -> Params:
    """Meta-parameters of `hierarchical`; it begins near momentum of steady length, with a constant learning rate.

    Args:
        units: of the cells.
        generator: draws the weights.
        dtype: of the weights.
    """

    def weight(inputs: int, outputs: int) -> Tensor:
        return linear_layers([inputs, outputs], generator, dtype)["layer0.weight"]

    weights: Params = {}
    sizes = {"parameter": (INPUTS, units.parameter), "tensor": (units.parameter, units.tensor),
             "whole": (units.tensor, units.whole)}  # fmt: skip
    for level, (inputs, hidden) in sizes.items():
        weights[f"{level}.inputs"] = weight(inputs, 3 * hidden)
        weights[f"{level}.hidden"] = weight(hidden, 3 * hidden)
        weights[f"{level}.bias"] = torch.zeros(3 * hidden, dtype=dtype)
    weights["tensor.down"] = weight(units.tensor, 3 * units.parameter)
    weights["whole.down"] = weight(units.whole, 3 * units.tensor)
    weights["direction"] = 0.1 * weight(units.parameter, 1)[0]
    weights["rate"] = 0.01 * weight(units.parameter, 1)[0]
    weights["averages"] = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=dtype)
    weights["decays"] = torch.logit(torch.tensor([0.8, 0.99, 0.9], dtype=torch.float64)).to(dtype)
    return weights


def hierarchical(rate: Tensor | float = 1e-3) -> Rule:
    """phi_{k+1} = phi_k - exp(r_{k+1}) d / rms(d); d and a change of r are read off a recurrent unit of each parameter.

    A parameter's unit sees running means of its gradient at four time scales, each over the root of its own running
    mean of squares, products of neighbouring ones, the logarithms of those squares without their mean over the scales,
    and the logarithm r of its learning rate without the mean over all parameters. A tensor's unit sees the mean state
    of its parameters' units, the whole's unit that of the tensors' units; each adds a bias to those below. d has also
    a learned share of each running mean, and is divided by its root mean square within the tensor. r is carried as a
    running mean. No input has a unit, so a loss times a constant is optimised alike.

    Unlike Wichrowska et al. (2017), decays are learned constants and not outputs, gradients are taken where the
    parameters are and not ahead of them, and running means are corrected for their start.

    The weights are ``meta["optimiser"]``, made by `initial_hierarchical`.

    Args:
        rate: exp(r_0), the first learning rate of all parameters.
    """

    def start(params: Params, meta: Meta) -> Memory:
        flat, weights = flatten(params), meta[OPTIMISER]
        sizes = {level: weights[f"{level}.hidden"].shape[1] for level in ("parameter", "tensor", "whole")}
        logs = torch.as_tensor(rate, dtype=flat.dtype, device=flat.device).log()
        return {
            "averages": flat.new_zeros(SCALES, len(flat)),
            "squares": flat.new_zeros(SCALES, len(flat)),
            "rate": logs.expand_as(flat),
            "parameter": flat.new_zeros(len(flat), sizes["parameter"]),
            "tensor": flat.new_zeros(len(params), sizes["tensor"]),
            "whole": flat.new_zeros(1, sizes["whole"]),
        }

    def move(signal: Params, state: InnerState, meta: Meta, step: Any) -> InnerState:
        weights, memory = meta[OPTIMISER], state.memory
        lengths = [leaf.numel() for leaf in state.params.values()]
        seen = _averaged(weights, memory, flatten({name: signal[name] for name in state.params}), step)
        relative = memory["rate"] - memory["rate"].mean()
        scaled, magnitudes = seen.scaled, seen.squares.clamp(min=_SMALL).log() / 2
        inputs = torch.stack([*scaled, *(scaled[1:] * scaled[:-1]), *(magnitudes - magnitudes.mean(0)), relative], -1)
        from_above = memory["tensor"] @ weights["tensor.down"].T
        biases = torch.cat([row.expand(length, -1) for row, length in zip(from_above, lengths, strict=True)])
        units = _cell(weights, "parameter", inputs, memory["parameter"], biases)
        means = torch.stack([part.mean(0) for part in torch.split(units, lengths)])
        tensors = _cell(weights, "tensor", means, memory["tensor"], memory["whole"] @ weights["whole.down"].T)
        whole = _cell(weights, "whole", tensors.mean(0, keepdim=True), memory["whole"], 0.0)
        direction = units @ weights["direction"] + weights["averages"] @ scaled
        rates = memory["rate"] + units @ weights["rate"]
        steps = torch.cat([part / (part.square().mean() + _SMALL).sqrt() for part in torch.split(direction, lengths)])
        keep = torch.sigmoid(weights["decays"][2])
        following = {
            "averages": seen.averages,
            "squares": seen.raw_squares,
            "rate": keep * memory["rate"] + (1 - keep) * rates,
            "parameter": units,
            "tensor": tensors,
            "whole": whole,
        }
        moved = flatten(state.params) - rates.exp() * steps
        return InnerState(unflatten(moved, state.params), following)

    return Rule("hierarchical", start, gradient, move)


class _Seen(NamedTuple):
    """Running means of a gradient at all scales, [S, P] each.

    Attributes:
        averages: not corrected for their start.
        raw_squares: of the averages, not corrected either.
        squares: corrected.
        scaled: corrected averages over the roots of these.
    """

    averages: Tensor
    raw_squares: Tensor
    squares: Tensor
    scaled: Tensor


def _averaged(weights: Params, memory: Memory, slope: Tensor, step: Any) -> _Seen:
    """Decays are b^(2^-s) for the scales s = 0, 1, ...: each scale is twice as slow as the one before."""
    exponents = torch.tensor([2.0**-scale for scale in range(SCALES)], dtype=slope.dtype, device=slope.device)
    decay, square_decay = (torch.sigmoid(weights["decays"][which]) ** exponents for which in (0, 1))
    count = torch.as_tensor(step, device=slope.device).to(slope.dtype) + 1
    averages = decay[:, None] * memory["averages"] + (1 - decay[:, None]) * slope
    unbiased = averages / (1 - decay**count)[:, None]
    raw = square_decay[:, None] * memory["squares"] + (1 - square_decay[:, None]) * unbiased.square()
    squares = raw / (1 - square_decay**count)[:, None]
    return _Seen(averages, raw, squares, unbiased / (squares + _SMALL).sqrt())


def _cell(weights: Params, level: str, inputs: Tensor, state: Tensor, bias: Tensor | float) -> Tensor:
    """A gated recurrent unit (Cho et al., 2014) for rows of inputs and states, with a bias of its own for each row."""
    given = inputs @ weights[f"{level}.inputs"].T + weights[f"{level}.bias"] + bias
    kept, forgotten, new = given.chunk(3, -1)
    kept_state, forgotten_state, new_state = (state @ weights[f"{level}.hidden"].T).chunk(3, -1)
    keep = torch.sigmoid(kept + kept_state)
    return keep * state + (1 - keep) * torch.tanh(new + torch.sigmoid(forgotten + forgotten_state) * new_state)
