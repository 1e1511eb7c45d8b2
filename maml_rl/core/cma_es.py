"""CMA-ES as a meta-optimiser: covariance matrix adaptation, by the package `cmaes` (Hansen, 2016)."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from maml_rl.core.meta_optimisers import MetaOptimiser, Update
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Meta

__all__ = ["PopulationProblem", "cma_es", "require_cmaes"]

PopulationProblem: TypeAlias = Callable[[Meta], tuple[Tensor, Any]]
"""``problem(population)`` are the scores [C] of C candidates, the lower the better, and whatever else was measured; the
leaves of `population` are [C, ...]."""

_ARRAYS = {"mean": "_mean", "covariance": "_C", "path": "_pc", "step_path": "_p_sigma"}
_NUMBERS = {"sigma": "_sigma", "generation": "_g"}


def require_cmaes() -> None:
    """Raises `ValueError`, naming the extra, where the package is not installed."""
    try:
        import cmaes  # noqa: F401
    except ImportError:
        raise ValueError("CMA-ES needs the extra 'cma': pip install 'maml_rl[cma]'.") from None


def cma_es(population: int, sigma: float, seed: Callable[[int], int]) -> MetaOptimiser[PopulationProblem]:
    """Draws candidates, ranks them by their scores, moves mean and covariance towards the better ones.

    The memory holds everything a search goes on from: the mean in float64, the covariance, both evolution paths, the
    step size and the generation. The search object is made from it at every update and thrown away, and its random
    numbers are a function of the iteration, so a stored search goes on to the bit. theta' is the mean. A score that is
    not finite is the worst one, and costs its candidate only.

    Args:
        population: C, at least 2.
        sigma: the first step size.
        seed: ``seed(iteration)`` is a whole number in [0, 2^32).
    """

    def init(meta: Meta) -> dict[str, Any]:
        mean = flatten(meta).double().cpu()
        zeros = torch.zeros_like(mean)
        return {
            "mean": mean,
            "covariance": torch.eye(len(mean), dtype=torch.float64),
            "path": zeros,
            "step_path": zeros.clone(),
            "sigma": float(sigma),
            "generation": 0,
        }

    def update(meta: Meta, memory: Any, problem: PopulationProblem, iteration: int) -> Update:
        search = _resumed(memory, population, seed(iteration))
        asked = [search.ask() for _ in range(population)]
        like = flatten(meta)
        rows = torch.from_numpy(np.stack(asked)).to(like)
        candidates = torch.func.vmap(lambda row: unflatten(row, meta))(rows)
        scores, aux = problem(candidates)
        ranked = scores.double().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf).tolist()
        search.tell(list(zip(asked, ranked, strict=True)))
        held = vars(search)
        arrays = {name: torch.from_numpy(np.array(held[field])) for name, field in _ARRAYS.items()}
        size = float(held["_sigma"])
        following = {**arrays, "sigma": size, "generation": int(held["_g"])}
        return Update(unflatten(arrays["mean"].to(like), meta), following, {"sigma": size}, aux)

    return MetaOptimiser("cma_es", init, update)


def _resumed(memory: Any, population: int, seed: int) -> Any:
    """The package's search object, where the memory says that it stands.

    Raises:
        ValueError: the package is not installed, or is of a version that holds its state in another way.
    """
    require_cmaes()
    from cmaes import CMA

    search = CMA(mean=memory["mean"].numpy(), sigma=memory["sigma"], population_size=population, seed=seed)
    fields = {**_ARRAYS, **_NUMBERS}
    if not set(fields.values()) <= vars(search).keys():
        raise ValueError("this version of the package cmaes keeps its state in another way: install 'maml_rl[cma]'.")
    held = {name: memory[name].numpy().copy() for name in _ARRAYS} | {name: memory[name] for name in _NUMBERS}
    vars(search).update({fields[name]: value for name, value in held.items()})
    return search
