"""A learned optimiser that is one small perceptron, the same for every parameter (Metz et al., 2019 and 2022)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from maml_rl.core.initialisation import linear_layers
from maml_rl.core.rules.sgd import gradient
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import InnerState, Memory, Meta, Params, Rule

__all__ = ["OPTIMISER", "initial_per_parameter", "per_parameter"]

OPTIMISER = "optimiser"
"""The group of meta-parameters that learned optimisers read."""

DECAYS, SQUARE_DECAY, RECENT = (0.5, 0.9, 0.99), 0.999, 0.99
OWN = 3 + 2 * len(DECAYS)  # features of a parameter
SHARED = 1 + len(DECAYS) + 3  # features of its tensor, and of the training
_LEAST_SIZE, _LEAST_SHARE, _SMALL, _LEAST_SQUARE, _EXPONENTS = 0.1, 1e-3, 1e-8, 1e-20, (-12.0, 2.0)


def initial_per_parameter(hidden: Sequence[int], generator: Generator, dtype: torch.dtype = torch.float32) -> Params:
    """Meta-parameters of `per_parameter`, with which it is near Adam; its steps fall from r / sqrt(T) to 0.

    Args:
        hidden: units of each hidden layer.
        generator: draws the weights.
        dtype: of the weights.
    """
    weights = linear_layers([OWN + SHARED, *hidden, 2], generator, dtype)
    last = f"layer{len(hidden)}.weight"
    follow = [float(decay == 0.9) for decay in (0.0, *DECAYS)]
    own = {"follow": torch.tensor(follow, dtype=dtype), "fall": torch.ones((), dtype=dtype)}
    return {**weights, last: 0.1 * weights[last], **own}


def per_parameter(horizon: int) -> Rule:
    """phi_{k+1} = phi_k - r T^(-1/2) (1 - k / T)^(p h) exp(s) (a d + sum_i f_i n_i), with (d, s) = MLP(features).

    n_i are the gradient and its running means with decays 0.5, 0.9 and 0.99 (corrected for their start), each over the
    root of the running mean of squares; their weights f_i are learned too and begin as Adam's. So is the power p, which
    begins as 1: where gradients are noisy, ordinary optimisers need a schedule for it. h is 1 while the tensor's
    gradients are as large as they ever were, and falls to 0 as they fall to a hundredth of that: their noise vanishes
    with them, and a schedule would be in the way. a is the root mean square over the tensor of the n_i with decay 0.9:
    steps become short with the gradients, so that a loss without noise is followed to its least value. s lies between
    -12 and 2. r is the size of the parameter's tensor, the root of the mean square of its first entries plus 0.01: of
    the first ones, because steps that grow with what they move would grow exponentially. The longer the training, the
    shorter its steps: the learning rate that is best for a bound on the regret of gradient descent goes with T^(-1/2)
    (Zinkevich, 2003), and a rule that is learned on short trainings cannot find out.

    Features of a parameter: the gradient, its means, the n_i and the weight, each divided by its root mean square over
    the tensor, so that none has a unit: a loss in other units is optimised alike. Features of its tensor: h, and the
    root mean squares of the n_i, which fall where gradients change their sign from step to step. Features of the
    training: how much of it is over, as in VeLO (Metz et al., 2022), and its age, tanh(log10((k + 1) / 10)).

    The weights are ``meta["optimiser"]``, made by `initial_per_parameter`.

    Args:
        horizon: T, the steps of the training; those behind them are a thousandth of the first ones' length to the p.
    """

    def start(params: Params, meta: Meta) -> Memory:
        flat = flatten(params)
        sizes = torch.stack([(leaf.square().mean() + _LEAST_SIZE**2).sqrt() for leaf in params.values()])
        of_tensors = {"sizes": sizes, "recent": torch.zeros_like(sizes), "largest": torch.zeros_like(sizes)}
        return {"means": flat.new_zeros(len(DECAYS), len(flat)), "square": torch.zeros_like(flat), **of_tensors}

    def move(signal: Params, state: InnerState, meta: Meta, step: Any) -> InnerState:
        weights, memory = meta[OPTIMISER], state.memory
        lengths = [leaf.numel() for leaf in state.params.values()]
        slope, leaf = flatten({name: signal[name] for name in state.params}), flatten(state.params)
        decays = torch.tensor(DECAYS, dtype=leaf.dtype, device=leaf.device)[:, None]
        at = torch.as_tensor(step, device=leaf.device).to(leaf.dtype)
        means = decays * memory["means"] + (1 - decays) * slope
        square = SQUARE_DECAY * memory["square"] + (1 - SQUARE_DECAY) * slope.square()
        spread = (square / (1 - SQUARE_DECAY ** (at + 1)) + _SMALL**2).sqrt()
        slopes = torch.cat([slope[None], means / (1 - decays ** (at + 1))])
        relative = slopes / spread
        own = torch.cat([leaf[None], slopes, relative])
        sizes = torch.stack([part.square().mean(-1) for part in torch.split(own, lengths, -1)], -1)
        scaled = own / _spread((sizes + _SMALL**2).sqrt(), lengths)
        share = (at / horizon).clamp(max=1)
        ages = torch.stack([share, torch.tanh(torch.log10((at + 1) / 10))])
        agreement = (sizes[-len(relative) :] + _SMALL**2).sqrt()
        recent = RECENT * memory["recent"] + (1 - RECENT) * sizes[1]
        now = recent / (1 - RECENT ** (at + 1)) + _LEAST_SQUARE
        largest = torch.maximum(memory["largest"], now)
        height = (1 + torch.log10(now / largest) / 4).clamp(min=0)
        shared = torch.cat([agreement, height[None], ages[:, None].expand(-1, len(lengths))])
        direction, exponent = _perceptron(weights, scaled, shared, lengths)
        left = (1 - share).clamp(min=_LEAST_SHARE)
        longest = horizon**-0.5 * left ** (weights["fall"] * _spread(height[None], lengths)[0])
        length = longest * _spread(memory["sizes"][None], lengths)[0] * exponent.clamp(*_EXPONENTS).exp()
        falling = _spread(agreement[-2:-1], lengths)[0]
        moved = leaf - length * (falling * direction + weights["follow"] @ relative)
        levels = {"recent": recent, "largest": largest}
        return InnerState(unflatten(moved, state.params), {**memory, "means": means, "square": square, **levels})

    return Rule("per_parameter", start, gradient, move)


def _spread(rows: Tensor, lengths: Sequence[int]) -> Tensor:
    """A number of each tensor, [F, tensors], for all of the tensor's entries, [F, P]."""
    parts = zip(rows.unbind(-1), lengths, strict=True)
    return torch.cat([part[:, None].expand(-1, length) for part, length in parts], -1)


def _perceptron(weights: Params, own: Tensor, shared: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The two outputs for each parameter, [P], from features [F, P] of its own and [F', tensors] of its tensor."""
    first = weights["layer0.weight"]
    from_shared = first[:, OWN:] @ shared + weights["layer0.bias"][:, None]
    values = first[:, :OWN] @ own + _spread(from_shared, lengths)
    for layer in range(1, (len(weights) - 2) // 2):
        values = weights[f"layer{layer}.weight"] @ torch.relu(values) + weights[f"layer{layer}.bias"][:, None]
    return values[0], values[1]
