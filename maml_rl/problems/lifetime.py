"""A training as the lifetime of a learned optimiser, for the estimators of meta-gradients."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from maml_rl.core.estimators import Carry, Problem, seeded_uniform
from maml_rl.core.types import Batch, InnerState, Meta, Rule
from maml_rl.problems.problem import TrainingProblem, inner_loss

__all__ = ["LARGEST", "RuleOfSeed", "Weigh", "lifetime", "log_uniform"]

RuleOfSeed: TypeAlias = Callable[[Tensor], Rule]
"""``rule(seed)`` is the rule that a training moves by; the seed may draw the learning rate that it begins with."""

Weigh: TypeAlias = Callable[[Tensor, Batch], Any]
"""``weigh(k, data)`` is w_k, with what the step is given as data, such as how far an annealing has come."""

LARGEST = 14.0
"""What the logarithm of a loss over the first one may come to, up or down: a loss of 0 has -13.8."""

_SMALL = 1e-6


def lifetime(problem: TrainingProblem, rule: RuleOfSeed, weigh: Weigh) -> Problem:
    """Step k of a lifetime is step k of a training; meta-loss w_k log(f_k / f_0 + 1e-6) (Wichrowska et al., 2017).

    f_k is the loss of step k before the step, on that step's data, so it comes with the gradient. The logarithm makes
    losses of all problems count alike. A training whose loss is not finite has diverged.

    Args:
        problem: what is trained, an instance for each seed.
        rule: by what.
        weigh: see `Weigh`; 1 counts the whole course, 0 but for the end what is reached there.
    """

    value = inner_loss(problem)

    def begin(theta: Meta, seed: Tensor) -> Carry:
        params = problem.initial(seed)
        first = problem.loss(params, seed, torch.zeros_like(seed)).detach()
        return {"params": params, "memory": rule(seed).start(params, theta), "first": first, "seed": seed}

    def step(theta: Meta, carry: Carry, data: Batch, k: Tensor) -> tuple[Carry, Tensor]:
        moving, state = rule(carry["seed"]), InnerState(carry["params"], carry["memory"])
        at: Any = k
        powers: Any = k.double()  # a plain number to the power of a whole one is float32, whatever the parameters are
        signal, loss = moving.observe(value, state, (carry["seed"], k), theta, at)
        moved = moving.move(signal, state, theta, powers)
        meta_loss = weigh(k, data) * torch.log(loss / carry["first"] + _SMALL)
        return {**carry, "params": moved.params, "memory": moved.memory}, meta_loss

    return Problem(begin, step)


def log_uniform(seed: Tensor, least: float, most: float) -> Tensor:
    """A number between the two whose logarithm is uniform, a function of the seed."""
    share = seeded_uniform(seed, stream=7, dtype=torch.float64)
    bounds = torch.tensor([least, most], dtype=torch.float64).log()
    return (bounds[0] + share * (bounds[1] - bounds[0])).exp()
