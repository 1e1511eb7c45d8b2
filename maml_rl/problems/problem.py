"""What an optimiser is trained and tested on: small trainings, each an instance that a seed draws."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from maml_rl.core.estimators.seeded import seeded_normal, seeded_uniform
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Batch, Loss, Meta, Params

__all__ = ["DataLoss", "TrainingProblem", "in_precision", "inner_loss", "noisy", "reparameterised", "sparse"]

DataLoss: TypeAlias = Callable[[Params, Tensor, Tensor], Tensor]
"""``loss(params, seed, k)`` is a scalar."""

_SCALES, _NOISE, _MASK = 1000, 2000, 3000  # streams of random numbers, apart from a problem's own


class TrainingProblem(NamedTuple):
    """A family of trainings. Its functions are pure, and `torch.func.vmap` maps them over seeds: it is a task
    distribution whose tasks are seeds.

    Attributes:
        name: how tables call it.
        initial: ``initial(seed)`` are the parameters before training; `seed` is an int64 scalar tensor.
        loss: ``loss(params, seed, k)`` is the loss of step k, on the data of that step if there are such.
        held_out: the same on data that are not trained on; `loss` itself where there are none.
        accuracy: the share of those data that is classified rightly; None where nothing is classified.
    """

    name: str
    initial: Callable[[Tensor], Params]
    loss: DataLoss
    held_out: DataLoss
    accuracy: DataLoss | None = None


def inner_loss(problem: TrainingProblem) -> Loss:
    """The problem's loss as rules observe it, for batches (seed, k); the loss itself is its further result."""

    def loss(params: Params, batch: Batch, meta: Meta, step: int) -> tuple[Tensor, Tensor]:
        value = problem.loss(params, *batch)
        return value, value

    return loss


def in_precision(problem: TrainingProblem, dtype: torch.dtype) -> TrainingProblem:
    """The problem with parameters of this type; losses follow them."""
    return problem._replace(initial=lambda seed: map_tree(lambda leaf: leaf.to(dtype), problem.initial(seed)))


def noisy(problem: TrainingProblem, std: float) -> TrainingProblem:
    """The problem with noise in its gradients: loss + std e_k . phi, e_k standard normal, other at each step.

    Args:
        problem: without the noise; held-out losses stay without it.
        std: of each entry of the gradient.
    """

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        value = problem.loss(params, seed, k)
        for place, leaf in enumerate(params.values()):
            noise = seeded_normal(seed + k, *leaf.shape, stream=_NOISE + place, dtype=leaf.dtype)
            value = value + std * (noise * (leaf - leaf.detach())).sum()
        return value

    return problem._replace(name=f"{problem.name}, noise {std:g}", loss=loss)


def sparse(problem: TrainingProblem, share: float) -> TrainingProblem:
    """The problem with gradients that reach only a share of the parameters, others at each step.

    Args:
        problem: with all of them.
        share: of the parameters that a step sees.
    """

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        seen = {}
        for place, (name, leaf) in enumerate(params.items()):
            chosen = seeded_uniform(seed + k, *leaf.shape, stream=_MASK + place) < share
            seen[name] = torch.where(chosen, leaf, leaf.detach())
        return problem.loss(seen, seed, k)

    return problem._replace(name=f"{problem.name}, {share:.0%} seen", loss=loss)


def reparameterised(problem: TrainingProblem, spread: float) -> TrainingProblem:
    """The problem in other units: phi = c u, with a factor c for each tensor that the seed draws, and u is trained.

    c is log-uniform between 1 / spread and spread. To augment the problems of meta-training so is what lets learned
    optimisers generalise to problems of another scale (Metz et al., 2022; Moudgil et al., 2025).

    Args:
        problem: in its own units.
        spread: at least 1.

    Raises:
        ValueError: `spread` is below 1.
    """
    if not 1 <= spread < float("inf"):
        raise ValueError(f"`spread` must be finite and at least 1, got {spread}.")

    def factors(params: Params, seed: Tensor) -> Params:
        logs = torch.log(torch.tensor(spread, dtype=torch.float64))
        return {
            name: ((2 * seeded_uniform(seed, stream=_SCALES + place, dtype=torch.float64) - 1) * logs).exp().to(leaf)
            for place, (name, leaf) in enumerate(params.items())
        }

    def initial(seed: Tensor) -> Params:
        params = problem.initial(seed)
        return map_tree(torch.div, params, factors(params, seed))

    def in_own_units(loss: DataLoss) -> DataLoss:
        return lambda params, seed, k: loss(map_tree(torch.mul, params, factors(params, seed)), seed, k)

    accuracy = None if problem.accuracy is None else in_own_units(problem.accuracy)
    loss, held_out = in_own_units(problem.loss), in_own_units(problem.held_out)
    return problem._replace(initial=initial, loss=loss, held_out=held_out, accuracy=accuracy)
