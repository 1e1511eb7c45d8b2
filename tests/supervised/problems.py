"""Small tasks and networks in float64 that the learner is tested on, and a textbook loop over tasks to compare with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_rl.core.types import Meta, Params
from maml_rl.supervised.batch_norm import batch_norm
from maml_rl.supervised.losses import CRITERIA
from maml_rl.supervised.network_learner import NetworkLearner
from maml_rl.supervised.networks import Network, conv4, mlp
from maml_rl.supervised.sinusoid import Sinusoid
from maml_rl.supervised.task_distribution import Labelled, TaskBatch

RATE, DTYPE = 0.05, torch.float64


def sines(tasks: int = 4, seed: int = 0) -> TaskBatch:
    """Tasks of 5 and 7 examples."""
    return Sinusoid().sample(np.random.default_rng(seed), tasks, 5, 7, "train")


def images(tasks: int = 2, ways: int = 3, seed: int = 0) -> TaskBatch:
    """Tasks of noise, two images of each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(ways).repeat(2).expand(tasks, -1)
    draw = lambda: torch.randn(tasks, 2 * ways, 1, 16, 16, generator=generator, dtype=DTYPE)  # noqa: E731
    return TaskBatch(Labelled(draw(), labels), Labelled(draw(), labels), {})


def tanh_mlp() -> Network:
    """Smooth, of two hidden layers."""
    return mlp([1, 8, 8, 1], torch.tanh)


def conv(downsampling: str = "stride", steps: int = 1, running: bool = False, adapt_norm: bool = False) -> Network:
    """Smooth, of four filters."""
    return conv4((1, 16, 16), 3, 4, downsampling, torch.tanh, batch_norm(running, steps), adapt_norm)


def regressor(*arguments: Any, **options: Any) -> NetworkLearner:
    """A learner of sines."""
    network, *rest = arguments
    return NetworkLearner(network, CRITERIA["regression"], *rest, **options)


def classifier(*arguments: Any, **options: Any) -> NetworkLearner:
    """A learner of images."""
    network, *rest = arguments
    return NetworkLearner(network, CRITERIA["classification"], *rest, **options)


def start(network: Network, seed: int = 0) -> tuple[Meta, Params]:
    """Meta-parameters and running statistics before training."""
    return {"network": network.initial(torch.Generator().manual_seed(seed), DTYPE)}, network.statistics(DTYPE)


def slope(meta: Meta, gradient: Meta, direction: Meta) -> float:
    """The derivative along a direction that a gradient says."""
    return sum(
        float((gradient[group][name] * direction[group][name]).sum())
        for group, params in meta.items()
        for name in params
    )


def finite_difference(value: Callable[[Meta], float], meta: Meta, direction: Meta, size: float = 1e-7) -> float:
    """A short step: a maximum that changes its place within it would spoil the second order."""
    ahead, behind = (
        value(
            {
                group: {name: leaf + sign * size * direction[group][name] for name, leaf in params.items()}
                for group, params in meta.items()
            }
        )
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * size)


class PlainMLP(nn.Module):
    """`tanh_mlp` as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer0, self.layer1, self.layer2 = (nn.Linear(*sizes, dtype=DTYPE) for sizes in ((1, 8), (8, 8), (8, 1)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [E, 1] for inputs [E, 1]."""
        return self.layer2(torch.tanh(self.layer1(torch.tanh(self.layer0(inputs)))))


def loop_over_tasks(
    params: Params, tasks: TaskBatch, steps: int, second_order: bool, weights: dict[int, float]
) -> Params:
    """The gradient of MAML as a textbook loop, without this project's core; weights of the points of the path."""
    module = PlainMLP()
    theta = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    total = torch.zeros((), dtype=DTYPE)
    call = lambda phi, x: torch.func.functional_call(module, phi, (x,))  # noqa: E731
    for xs, ys, xq, yq in zip(*tasks.support, *tasks.query, strict=True):
        phi = dict(theta)
        for step in range(steps + 1):
            if step in weights:
                total = total + weights[step] * F.mse_loss(call(phi, xq), yq)
            if step < steps:
                loss = F.mse_loss(call(phi, xs), ys)
                gradients = torch.autograd.grad(loss, list(phi.values()), create_graph=second_order)
                phi = {name: leaf - RATE * g for (name, leaf), g in zip(phi.items(), gradients, strict=True)}
    gradients = torch.autograd.grad(total / len(tasks.support.inputs), list(theta.values()))
    return dict(zip(theta, gradients, strict=True))
