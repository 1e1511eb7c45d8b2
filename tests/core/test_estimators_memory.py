"""Peak memory of the estimators: flat in the length of a lifetime, but for the full unroll."""

import gc

import torch
from torch import Tensor

from maml_rl.core.estimators import (
    Estimator,
    Lifetimes,
    Problem,
    bootstrapped,
    decayed_trace,
    evolution_strategies,
    full_unroll,
    persistent_evolution_strategies,
    truncated_unroll,
)
from maml_rl.core.types import Meta
from tests.core.lifetime_problems import seeded


def _peak(estimator: Estimator, calls: int, size: int = 40) -> int:
    """The most bytes that torch's tensors took during `calls` estimates."""
    theta = {"layer": {"w": torch.full((size, size), 0.01)}}
    memory = estimator.init(theta, seeded(0))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        for call in range(calls):
            gc.collect()
            memory = estimator.estimate(theta, memory, (), seeded(call)).memory
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(taken.cumsum(0).max())


def _layers(size: int) -> Problem:
    def step(theta: Meta, carry: Tensor, data: tuple[()], k: Tensor) -> tuple[Tensor, Tensor]:
        carry = torch.tanh(carry @ theta["layer"]["w"])
        return carry, carry.square().mean()

    return Problem(lambda theta, seed: torch.ones(size, size), step)


def test_memory_is_flat_in_the_length_of_a_lifetime_and_linear_for_the_full_unroll() -> None:
    def estimators(length: int) -> list[Estimator]:
        lifetimes = Lifetimes(4, length, staggered=False)
        return [
            truncated_unroll(layers, lifetimes, 5),
            evolution_strategies(layers, lifetimes, 5, 0.1),
            persistent_evolution_strategies(layers, lifetimes, 5, 0.1),
            bootstrapped(
                layers,
                lifetimes,
                3,
                3,
                lambda theta, carry, data, k: 0.9 * carry,
                lambda a, b, data: (a - b).square().sum(),
            ),
        ]

    layers = _layers(40)
    short, long = ([_peak(each, length // 5) for each in estimators(length)] for length in (20, 80))
    assert all(two < 1.1 * one for one, two in zip(short, long, strict=True))
    whole = [_peak(full_unroll(layers, Lifetimes(4, length)), 1) for length in (20, 80)]
    assert whole[1] > 3.5 * whole[0] > 3.5 * max(short)


def test_the_memory_of_the_trace_grows_with_the_numbers_in_theta_and_not_with_the_length_of_a_lifetime() -> None:
    def peak(length: int, size: int) -> int:
        lifetimes = Lifetimes(4, length, staggered=False)
        return _peak(decayed_trace(_layers(size), lifetimes, 5, 0.9), length // 5, size)

    assert peak(80, 6) < 1.1 * peak(20, 6)
    assert peak(20, 12) > 8 * peak(20, 6)  # four times as many numbers, carries of four times the size
