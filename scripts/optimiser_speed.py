"""The optimisers section of the benchmark: what a step of a learned optimiser costs, beside Adam's."""

import time
from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from statistics import median

import torch
from torch import Tensor, nn

from maml_rl.optim import LearnedOptimiser, pretrained_weights

__all__ = ["optimisers"]

WIDTH, LAYERS, BATCH, STEPS = 256, 4, 64, 10

Make = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def optimisers(device: str, repetitions: int) -> dict[str, float]:
    """Milliseconds of a step on a perceptron of 220,000 parameters in 10 tensors, and of its loss and gradient.

    `learned` computes all parameters at once; `tensor_by_tensor` is an optimiser for each tensor, one after the other.
    They take turns; the median of the repetitions counts.
    """
    weights = pretrained_weights("small")
    ways: dict[str, Make] = {
        "adam": lambda leaves: torch.optim.Adam(leaves, 1e-3),
        "learned": lambda leaves: LearnedOptimiser(leaves, weights, horizon=1000),
    }
    model, inputs = _model().to(device), torch.randn(BATCH, WIDTH, device=device)
    leaves = list(model.parameters())
    apart = [ways["learned"]([leaf]) for leaf in leaves]
    steps: dict[str, Callable[[], object]] = {name: make(leaves).step for name, make in ways.items()}
    steps["tensor_by_tensor"] = lambda: [each.step() for each in apart]
    steps["gradient"] = lambda: model(inputs).square().mean().backward()
    steps["gradient"]()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(repetitions + 1):
        for name, step in steps.items():
            took = _seconds(step, device)
            if repetition:  # the first one warms up
                seconds[name].append(took)
    result = {f"{name}_ms": 1e3 * median(values) for name, values in seconds.items()}
    whole = {name: result[f"{name}_ms"] + result["gradient_ms"] for name in ways}
    return {
        **result,
        "learned_per_adam": result["learned_ms"] / result["adam_ms"],
        "training_step_per_adams": whole["learned"] / whole["adam"],
        "tensor_by_tensor_per_learned": result["tensor_by_tensor_ms"] / result["learned_ms"],
    }


def _model() -> nn.Module:
    widths = [*[WIDTH] * LAYERS, 64, 10]
    layers = [(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)]
    return nn.Sequential(*chain.from_iterable(layers))


def _seconds(step: Callable[[], object], device: str) -> float:
    """Of one of several steps."""
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    if device != "cpu":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / STEPS
