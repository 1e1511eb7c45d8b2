"""Functions to be minimised, after the corpus of Wichrowska et al. (2017, appendix A): no data, chance in the start."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from maml_rl.core.estimators.seeded import seeded_normal, seeded_uniform
from maml_rl.core.types import Params
from maml_rl.problems.problem import TrainingProblem

__all__ = ["FUNCTIONS", "bowl", "quadratic", "softmax_of_clusters"]

X = "x"
_MATRIX, _SHIFT, _LABELS = 1, 2, 3  # streams


def quadratic(size: int = 20) -> TrainingProblem:
    """|W x - y|^2 / (2 n), W [n, n] and y normal: condition numbers of thousands and more.

    Args:
        size: n.
    """

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        x = params[X]
        matrix = seeded_normal(seed, size, size, stream=_MATRIX, dtype=x.dtype)
        wanted = seeded_normal(seed, size, stream=_SHIFT, dtype=x.dtype)
        return (matrix @ x - wanted).square().mean() / 2

    return _without_data(f"quadratic {size}", lambda seed: seeded_normal(seed, size), loss)


def bowl(size: int = 20, condition: float = 100.0) -> TrainingProblem:
    """sum_i l_i x_i^2 / 2, l_i from 1 / condition to 1 in equal ratios.

    Args:
        size: how many.
        condition: the largest over the smallest.
    """
    curvatures = torch.logspace(-math.log10(condition), 0, size)

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        return (curvatures.to(params[X]) * params[X].square()).sum() / 2

    return _without_data(f"bowl {size}", lambda seed: seeded_normal(seed, size), loss)


def softmax_of_clusters(size: int = 10, classes: int = 5, examples: int = 100) -> TrainingProblem:
    """Logistic regression of labels that a random linear map gives to normal examples; all of them in every step.

    Args:
        size: of an example.
        classes: of labels.
        examples: in all.
    """

    def initial(seed: Tensor) -> Params:
        return {
            "weight": torch.zeros(classes, size, device=seed.device),
            "bias": torch.zeros(classes, device=seed.device),
        }

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        dtype = params["weight"].dtype
        inputs = seeded_normal(seed, examples, size, stream=_MATRIX, dtype=dtype)
        labels = (inputs @ seeded_normal(seed, size, classes, stream=_LABELS, dtype=dtype)).argmax(-1)
        return torch.nn.functional.cross_entropy(inputs @ params["weight"].T + params["bias"], labels)

    return TrainingProblem("softmax of clusters", initial, loss, loss)


def _plane(
    name: str, value: Callable[[Tensor, Tensor], Tensor], centre: tuple[float, float], width: float
) -> TrainingProblem:
    """A function of two numbers, from a start uniform in a square of this half width."""

    def initial(seed: Tensor) -> Tensor:
        middle = torch.tensor(centre, device=seed.device)
        return middle + width * (2 * seeded_uniform(seed, 2) - 1)

    return _without_data(name, initial, lambda params, seed, k: value(*params[X].unbind()))


def _without_data(
    name: str, start: Callable[[Tensor], Tensor], loss: Callable[[Params, Tensor, Tensor], Tensor]
) -> TrainingProblem:
    return TrainingProblem(name, lambda seed: {X: start(seed)}, loss, loss)


FUNCTIONS: dict[str, TrainingProblem] = {
    "booth": _plane("booth", lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2, (0.0, 0.0), 5.0),
    "matyas": _plane("matyas", lambda x, y: 0.26 * (x**2 + y**2) - 0.48 * x * y, (0.0, 0.0), 5.0),
    "rosenbrock": _plane("rosenbrock", lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2, (0.0, 0.0), 2.0),
    "beale": _plane(
        "beale",
        lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2,
        (0.0, 0.0),
        2.0,
    ),
    "ackley": _plane(
        "ackley",
        lambda x, y: (
            20
            - 20 * torch.exp(-0.2 * (0.5 * (x**2 + y**2) + 1e-12).sqrt())
            + math.e
            - torch.exp(0.5 * (torch.cos(2 * math.pi * x) + torch.cos(2 * math.pi * y)))
        ),
        (0.0, 0.0),
        3.0,
    ),
}
"""Functions of two numbers by name, as in the literature: all have the least value 0."""
