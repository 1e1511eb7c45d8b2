"""Meta-optimisers as values: how meta-parameters move, given a problem. Adam (Kingma and Ba, 2015) and plain descent.

Others stand where their problem does: the trust region in `core.trust_region`, the clipped surrogate and proximal
policy optimisation among the updates of reinforcement learning.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import torch
from torch.optim.adam import adam as _torch_adam

from maml_rl.core.schedules import Schedule
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Meta, Params

__all__ = [
    "AdamState",
    "GradientProblem",
    "MetaOptimiser",
    "Update",
    "adam",
    "adam_start",
    "adam_step",
    "clip_norm",
    "clip_value",
    "descent",
    "require_finite_gradient",
]

ProblemT_contra = TypeVar("ProblemT_contra", contravariant=True)
Tree = TypeVar("Tree")

AdamState: TypeAlias = dict[str, Params]
"""Running means of gradients and of their squares, and the number of steps, for each parameter."""

GradientProblem: TypeAlias = Callable[[Meta], tuple[Meta, Any]]
"""``problem(meta)`` is a gradient, or what is taken for one, and whatever else was measured on the way. A displacement
from adapted to initial parameters is taken for one by Reptile (Nichol et al., 2018)."""


class Update(NamedTuple):
    """What an update did.

    Attributes:
        meta: the new meta-parameters.
        memory: the optimiser's new memory.
        metrics: what it has to say.
        aux: what the problem measured besides.
    """

    meta: Meta
    memory: Any
    metrics: dict[str, float]
    aux: Any = ()


@dataclass(frozen=True)
class MetaOptimiser(Generic[ProblemT_contra]):
    """How meta-parameters move.

    Attributes:
        name: how messages call it.
        init: ``init(meta)`` is its memory before the first update.
        update: ``update(meta, memory, problem, iteration)``; nothing is changed in place. It raises
            `FloatingPointError` where a loss or a gradient is not finite.
    """

    name: str
    init: Callable[[Meta], Any]
    update: Callable[[Meta, Any, ProblemT_contra, int], Update]


def descent(schedule: Schedule) -> MetaOptimiser[GradientProblem]:
    """theta' = theta - a_k g. On a displacement it is Reptile's update (Nichol et al., 2018, algorithm 2)."""

    def update(meta: Meta, memory: Any, problem: GradientProblem, iteration: int) -> Update:
        gradient, aux = problem(meta)
        require_finite_gradient(gradient)
        rate = schedule(iteration)
        moved = map_tree(lambda leaf, slope: leaf - rate * slope, meta, gradient)
        length = torch.stack([slope.square().sum() for slope in _joined(gradient).values()]).sum().sqrt()
        return Update(moved, memory, {"meta_learning_rate": rate, "gradient_norm": float(length)}, aux)

    return MetaOptimiser("descent", lambda meta: {}, update)


def adam(schedule: Schedule, clip: float | None = None) -> MetaOptimiser[GradientProblem]:
    """Adam on the gradient, each entry of it clipped to [-clip, clip] where a clip is given."""

    def update(meta: Meta, memory: Any, problem: GradientProblem, iteration: int) -> Update:
        gradient, aux = problem(meta)
        require_finite_gradient(gradient)
        if clip is not None:
            gradient = clip_value(gradient, clip)
        rate = schedule(iteration)
        moved, memory = adam_step(meta, gradient, memory, rate)
        return Update(moved, memory, {"meta_learning_rate": rate}, aux)

    return MetaOptimiser("adam", adam_start, update)


def adam_start(meta: Meta) -> AdamState:
    """Adam's memory before the first step."""
    leaves = _joined(meta)
    return {
        "mean": {name: torch.zeros_like(leaf) for name, leaf in leaves.items()},
        "square": {name: torch.zeros_like(leaf) for name, leaf in leaves.items()},
        "steps": {name: torch.zeros((), dtype=torch.float32) for name in leaves},
    }


def adam_step(meta: Meta, gradient: Meta, state: AdamState, rate: float) -> tuple[Meta, AdamState]:
    """theta' = theta - rate m^ / (sqrt(v^) + 1e-8), by PyTorch's own implementation; nothing is changed in place.

    Args:
        meta: theta.
        gradient: of the same groups, names and shapes.
        state: of the step before, or `adam_start(meta)`.
        rate: of this step.
    """
    moved = map_tree(lambda leaf: leaf.detach().clone(), meta)
    memory = map_tree(torch.Tensor.clone, state)
    leaves, slopes = _joined(moved), _joined(gradient)
    with torch.no_grad():
        _torch_adam(
            list(leaves.values()),
            [slopes[name] for name in leaves],
            [memory["mean"][name] for name in leaves],
            [memory["square"][name] for name in leaves],
            max_exp_avg_sqs=[],
            state_steps=[memory["steps"][name] for name in leaves],
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
    return moved, memory


def clip_value(gradient: Tree, largest: float) -> Tree:
    """Each entry clipped to [-largest, largest]."""
    return map_tree(lambda leaf: leaf.clamp(-largest, largest), gradient)


def clip_norm(gradient: Meta, longest: float) -> tuple[Meta, torch.Tensor]:
    """The gradient scaled down to the length `longest` where it is longer, and its length before."""
    norm = torch.stack([leaf.norm() for leaf in _joined(gradient).values()]).norm()
    scale = longest / norm.clamp(min=longest)
    return map_tree(lambda leaf: leaf * scale, gradient), norm


def require_finite_gradient(gradient: Meta) -> None:
    """Raises `FloatingPointError`, naming the parameters, unless every entry is finite."""
    wrong = [name for name, leaf in _joined(gradient).items() if not bool(leaf.isfinite().all())]
    if wrong:
        shown = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise FloatingPointError(f"the meta-gradient of {shown} is not finite; the parameters were left as they were.")


def _joined(meta: Meta) -> Params:
    """All parameters by group and name."""
    return {f"{group}/{name}": leaf for group, params in meta.items() for name, leaf in params.items()}
