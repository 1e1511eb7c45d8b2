"""Small networks whose synapses know only what is local, and what the modulator of each unit is."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import softplus

from maml_rl.core.estimators.seeded import seeded_normal
from maml_rl.core.rules.synaptic import Activity
from maml_rl.core.types import Batch, Loss, Meta, Params

__all__ = ["FEEDBACKS", "UNITS", "Feedback", "PlasticNetwork", "Unit", "UnitName"]

UnitName: TypeAlias = Literal["sigmoid", "tanh", "linear"]
Feedback: TypeAlias = Literal["transposed", "random", "global"]
FEEDBACKS: tuple[Feedback, ...] = ("transposed", "random", "global")
OUTPUT, HIDDEN = "output.weight", "hidden.weight"
_HIDDEN, _OUTPUT, _FEEDBACK = 21, 22, 23  # streams of random numbers


class Unit(NamedTuple):
    """A kind of unit.

    Attributes:
        activation: of the sum of its inputs.
        slope: derivative of the activation, as a function of the activity.
        loss: ``loss(a, t)`` of an output unit with input a and target t; its derivative in a is y - t.
        low: the activity that stands for no; 1 stands for yes.
    """

    activation: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    low: float


UNITS: dict[UnitName, Unit] = {
    "sigmoid": Unit(torch.sigmoid, lambda y: y * (1 - y), lambda a, t: softplus(a) - t * a, 0.0),
    "tanh": Unit(torch.tanh, lambda y: 1 - y.square(), lambda a, t: softplus(2 * a) - (1 + t) * a, -1.0),
    "linear": Unit(lambda a: a, torch.ones_like, lambda a, t: (a - t).square() / 2, 0.0),
}
"""Units by name. The loss is the cross-entropy, with 1 - y or -y for no, and half the squared error of linear units."""


class PlasticNetwork(NamedTuple):
    """n inputs, one layer of hidden units or none, one output unit. Each layer has a further input that is always 1.

    Attributes:
        inputs: n.
        hidden: units; 0 for one layer of synapses.
        unit: what all units are.
        std: of the initial weights, which are normal and divided by the root of the number of inputs.
        feedback: what modulates hidden units, made of the error t - y of the output unit, which modulates that one.
            "transposed": the error times the weight to the output and the slope, so back-propagation is a point of the
            family. "random": with fixed random weights in place of those to the output (Lillicrap et al., 2016).
            "global": the error itself, the same for all.
    """

    inputs: int
    hidden: int = 0
    unit: UnitName = "sigmoid"
    std: float = 1.0
    feedback: Feedback = "transposed"

    @property
    def kind(self) -> Unit:
        """What the units do."""
        return UNITS[self.unit]

    def initial(self, seed: Tensor, dtype: torch.dtype) -> Params:
        """Weights ``output.weight`` [1, in + 1] and, with hidden units, ``hidden.weight`` [hidden, n + 1]."""

        def drawn(rows: int, columns: int, stream: int) -> Tensor:
            return self.std * seeded_normal(seed, rows, columns, stream=stream, dtype=dtype) / columns**0.5

        if not self.hidden:
            return {OUTPUT: drawn(1, self.inputs + 1, _OUTPUT)}
        return {
            HIDDEN: drawn(self.hidden, self.inputs + 1, _HIDDEN),
            OUTPUT: drawn(1, self.hidden + 1, _OUTPUT),
        }

    def feedback_weights(self, seed: Tensor, dtype: torch.dtype) -> Tensor:
        """The fixed weights of random feedback, standard normal, [hidden]."""
        return seeded_normal(seed, self.hidden, stream=_FEEDBACK, dtype=dtype)

    def output_input(self, params: Params, inputs: Tensor) -> Tensor:
        """The sum that goes into the output unit, [Q], for patterns [Q, n]."""
        below = self.kind.activation(_with_one(inputs) @ params[HIDDEN].T) if self.hidden else inputs
        return _with_one(below) @ params[OUTPUT][0]

    def loss(self) -> Loss:
        """The loss of one presentation, for batches (pattern [n], target, feedback weights [hidden]); its further
        results are an `Activity` for each layer of synapses, which is what the rule observes."""

        def loss(params: Params, batch: Batch, meta: Meta, step: int) -> tuple[Tensor, dict[str, Activity]]:
            pattern, target, backward = batch
            below, kind = _with_one(pattern), self.kind
            hidden = kind.activation(params[HIDDEN] @ below) if self.hidden else None
            above = below if hidden is None else _with_one(hidden)
            total = params[OUTPUT] @ above
            output = kind.activation(total)
            error = target - output
            activities = {OUTPUT: Activity(above, output, error)}
            if hidden is not None:
                ways = {"transposed": params[OUTPUT][0, :-1], "random": backward}
                local = self.feedback != "global"
                modulator = error * ways[self.feedback] * kind.slope(hidden) if local else error.expand_as(hidden)
                activities[HIDDEN] = Activity(below, hidden, modulator)
            return kind.loss(total, target).sum(), activities

        return loss


def _with_one(values: Tensor) -> Tensor:
    return torch.cat([values, torch.ones_like(values[..., :1])], -1)
