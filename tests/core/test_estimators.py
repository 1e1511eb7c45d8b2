"""Laws that every estimator of meta-gradients keeps: lifetimes, divergence, resuming, memory, devices, learning."""

import io
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core.estimators import (
    Estimate,
    Estimator,
    Lifetimes,
    Problem,
    bootstrapped,
    evolution_strategies,
    full_unroll,
    persistent_evolution_strategies,
    truncated_unroll,
)
from maml_rl.core.meta_optimisers import adam
from maml_rl.core.schedules import constant
from maml_rl.core.tree import flatten, map_tree
from maml_rl.core.types import Memory, Meta
from tests.core.lifetime_problems import DESCENT, ESTIMATORS, descend, descent_data, descent_theta, match, seeded

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS.keys())
COUNT, STEPS, SICK = 6, 5, 2
OTHERS = [n for n in range(COUNT) if n != SICK]


def _live(estimator: Estimator, memory: Memory, calls: range, theta: Meta | None = None) -> list[Estimate]:
    results = []
    for call in calls:
        data = descent_data(call, COUNT, STEPS)
        results.append(estimator.estimate(theta or descent_theta(), memory, data, seeded(100 + call)))
        memory = results[-1].memory
    return results


def _same(one: Any, other: Any) -> bool:
    return torch.equal(flatten(map_tree(Tensor.double, one)), flatten(map_tree(Tensor.double, other)))


@every_estimator
def test_lifetimes_end_one_after_the_other_and_begin_anew(estimator: Estimator) -> None:
    memory = estimator.init(descent_theta(), seeded(0))
    assert memory["step"].tolist() == [0] * COUNT
    assert memory["end"].tolist() == [3, 5, 7, 9, 11, 13]
    results = _live(estimator, memory, range(8))
    taken = 4 if estimator.name == "bootstrapped" else 5
    step, end = [0] * COUNT, memory["end"].tolist()
    seed = [0] * COUNT
    for result in results:
        finished = 0
        seeds = result.memory["carry"]["seed"].reshape(COUNT, -1)[:, 0].tolist()
        for n in range(COUNT):
            assert (seeds[n] != seed[n]) == (step[n] == 0)
            step[n] = min(step[n] + taken, end[n])
            if step[n] == end[n]:
                finished, step[n], end[n] = finished + 1, 0, 13
        seed = seeds
        assert len(set(seeds)) == COUNT
        assert result.memory["step"].tolist() == step
        assert result.memory["end"].tolist() == end
        assert result.metrics["finished"] == finished


@every_estimator
def test_after_the_end_nothing_counts(estimator: Estimator) -> None:
    """Other data after the end of a lifetime change nothing."""
    memory, theta = estimator.init(descent_theta(), seeded(0)), descent_theta()
    memory = {**memory, "end": torch.full((COUNT,), 3)}
    data = descent_data(0, COUNT, STEPS)
    late = {**data, "b": torch.cat([data["b"][:, :3], data["b"][:, 3:] + 1.0], 1)}
    if estimator.name == "bootstrapped":  # the matching loss may look at the last data, though nothing moves
        late["b"][:, -1] = data["b"][:, -1]
    one, other = (estimator.estimate(theta, memory, each, seeded(5)) for each in (data, late))
    assert _same(one[0], other[0])
    assert _same(one.memory, other.memory)
    assert torch.equal(one.losses, other.losses)


@every_estimator
def test_resuming_in_the_middle_of_a_lifetime_gives_the_same_bits(estimator: Estimator) -> None:
    straight = _live(estimator, estimator.init(descent_theta(), seeded(0)), range(7))
    for stop in (1, 4):
        file = io.BytesIO()
        torch.save(straight[stop - 1].memory, file)
        file.seek(0)
        memory = torch.load(file, weights_only=True)
        assert int((memory["step"] > 0).sum()) > 2
        resumed = _live(estimator, memory, range(stop, 7))
        for one, other in zip(straight[stop:], resumed, strict=True):
            assert _same((one.gradient, one.memory, one.losses), (other.gradient, other.memory, other.losses))


def _poisoned(entry: int, value: float, patients: list[int], step: int = 1) -> dict[str, Tensor]:
    data = descent_data(3, COUNT, STEPS)
    for patient in patients:
        data["poison"][patient, step, entry] = value
    return data


WAYS = {
    "carry is nan": (0, float("nan")),
    "carry is infinite": (0, float("inf")),
    "loss is nan": (1, float("nan")),
    "loss is infinite": (1, -float("inf")),
    "loss is huge": (1, 1e9),
    "loss is hugely negative": (1, -1e9),
    "slope is not finite": (2, 1.0),
    "the last carry is infinite": (3, float("inf")),
}


@every_estimator
def test_a_lifetime_that_diverges_costs_its_own_score_and_nothing_else(estimator: Estimator) -> None:
    theta = descent_theta()
    memory = _live(estimator, estimator.init(theta, seeded(0)), range(1))[-1].memory
    memory = {**memory, "end": torch.full((COUNT,), 13)}

    def outcome(data: dict[str, Tensor]) -> tuple[Estimate, Tensor]:
        generator = seeded(9)
        return estimator.estimate(theta, memory, data, generator), generator.get_state()

    healthy, state = outcome(descent_data(3, COUNT, STEPS))
    alone, _ = outcome(_poisoned(1, float("nan"), OTHERS))
    expected = map_tree(lambda mean, own: (COUNT * mean - own) / (COUNT - 1), healthy.gradient, alone.gradient)
    derivatives = not estimator.name.endswith("evolution_strategies")
    ways = [way for name, way in WAYS.items() if derivatives or name != "slope is not finite"]
    if estimator.name == "bootstrapped":
        ways.remove(WAYS["slope is not finite"])  # losses are not differentiated
    taken = estimator.steps - (estimator.name == "bootstrapped")
    gradients = []
    for entry, value in ways:
        sick, sick_state = outcome(_poisoned(entry, value, [SICK], taken - 1 if entry == 3 else 1))
        gradients.append(flatten(sick.gradient))
        assert sick.metrics["diverged"] == 1
        assert int(sick.memory["step"][SICK]) == 0
        assert bool(sick.losses[SICK].isnan())
        assert sick.metrics["meta_loss"] == pytest.approx(float(sick.losses[OTHERS].mean()))
        part = map_tree(lambda leaf: leaf[OTHERS], sick.memory)
        assert _same(part, map_tree(lambda leaf: leaf[OTHERS], healthy.memory))
        assert torch.equal(sick.losses[OTHERS], healthy.losses[OTHERS])
        assert torch.equal(sick_state, state)
        torch.testing.assert_close(sick.gradient, expected, rtol=1e-9, atol=1e-9)
        following = estimator.estimate(theta, sick.memory, descent_data(4, COUNT, STEPS), seeded(10))
        assert following.metrics["diverged"] == 0
        assert int(following.memory["step"][SICK]) == taken
    assert all(torch.equal(gradients[0], gradient) for gradient in gradients)
    assert float((gradients[0] - flatten(healthy.gradient)).abs().max()) > 1e-6


@every_estimator
def test_where_all_diverge_the_gradient_is_zero_and_all_begin_anew(estimator: Estimator) -> None:
    theta = descent_theta()
    memory = _live(estimator, estimator.init(theta, seeded(0)), range(1))[-1].memory
    result = estimator.estimate(theta, memory, _poisoned(0, float("nan"), list(range(COUNT)), 0), seeded(1))
    assert float(flatten(result.gradient).abs().max()) == 0.0
    assert result.metrics["diverged"] == COUNT
    assert result.memory["step"].tolist() == [0] * COUNT
    assert estimator.estimate(theta, result.memory, descent_data(0, COUNT, STEPS), seeded(2)).metrics["diverged"] == 0


@every_estimator
def test_a_lifetime_that_begins_has_nothing_of_the_one_before(estimator: Estimator) -> None:
    fresh = estimator.init(descent_theta(), seeded(0))
    worn = _live(estimator, fresh, range(2))[-1].memory
    worn = {**worn, **{name: fresh[name] for name in ("step", "end", "seed")}}
    one, other = (_live(estimator, memory, range(1))[0] for memory in (fresh, worn))
    assert _same((one.gradient, one.memory), (other.gradient, other.memory))


@every_estimator
def test_results_follow_the_precision_of_the_inputs_and_carry_no_graph(estimator: Estimator) -> None:
    theta = map_tree(Tensor.requires_grad_, descent_theta(torch.float32))
    memory = estimator.init(theta, seeded(0))
    result = estimator.estimate(theta, memory, descent_data(0, COUNT, STEPS, torch.float32), seeded(100))
    reference = _live(estimator, estimator.init(descent_theta(), seeded(0)), range(1))[0]
    leaves = [result.losses, flatten(result.gradient), result.memory["carry"]["x"]]
    assert {leaf.dtype for leaf in leaves} == {torch.float32}
    assert not any(leaf.requires_grad for leaf in leaves)
    assert result.memory["step"].dtype == result.memory["end"].dtype == torch.int64
    assert {type(value) for value in result.metrics.values()} == {float}
    assert result.gradient.keys() == theta.keys()
    assert result.metrics["meta_loss"] == pytest.approx(reference.metrics["meta_loss"], rel=1e-4)


@every_estimator
def test_a_meta_optimiser_learns_from_it(estimator: Estimator) -> None:
    theta, optimiser = descent_theta(), adam(constant(0.05))
    theta["rule"]["log_rates"] -= 2.0
    state, memory = optimiser.init(theta), estimator.init(theta, seeded(0))
    losses = []
    for call in range(60):
        data = {**descent_data(call, COUNT, STEPS), "b": torch.ones(COUNT, STEPS, 3, dtype=torch.float64)}
        estimate = estimator.estimate(theta, memory, data, seeded(call))
        update = optimiser.update(theta, state, lambda meta, estimate=estimate: (estimate.gradient, estimate), call)
        theta, state, memory = update.meta, update.memory, estimate.memory
        losses.append(update.aux.metrics["meta_loss"])
    assert sum(losses[-10:]) / 10 < sum(losses[:10]) / 10 - 0.3


def test_lengths_can_be_drawn() -> None:
    def lengths(count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(4, 9, (count,), generator=generator)

    estimator = truncated_unroll(DESCENT, Lifetimes(COUNT, lengths, staggered=False), STEPS)
    memory = estimator.init(descent_theta(), seeded(3))
    drawn = [memory["end"].tolist()]
    for result in _live(estimator, memory, range(4)):
        ended = result.memory["step"] == 0
        assert torch.equal(result.memory["end"][~ended], torch.tensor(drawn[-1])[~ended])
        drawn.append(result.memory["end"].tolist())
    assert {length for lengths in drawn for length in lengths} == {4, 5, 6, 7, 8}
    shortest = truncated_unroll(DESCENT, Lifetimes(COUNT, lambda count, generator: torch.zeros(count)), STEPS)
    assert shortest.init(descent_theta(), seeded(0))["end"].tolist() == [1] * COUNT
    endless = truncated_unroll(DESCENT, Lifetimes(COUNT, sys.maxsize), STEPS)
    last = _live(endless, endless.init(descent_theta(), seeded(0)), range(4))[-1]
    assert last.memory["step"].tolist() == [4 * STEPS] * COUNT


@every_estimator
def test_data_of_another_shape_are_refused(estimator: Estimator) -> None:
    memory = estimator.init(descent_theta(), seeded(0))
    for count, steps in ((COUNT + 1, STEPS), (COUNT, STEPS - 1)):
        with pytest.raises(ValueError, match=r"\[N, steps, ...\] = \(6, 5\) at the front, got"):
            estimator.estimate(descent_theta(), memory, descent_data(0, count, steps), seeded(0))


def test_impossible_numbers_are_refused_by_name() -> None:
    good = Lifetimes(4, 10)
    for wrong in ({"count": 0}, {"length": 0}, {"loss_limit": float("nan")}, {"loss_limit": -1.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be positive"):
            replace(good, **wrong)
    with pytest.raises(ValueError, match="`unroll` must be positive"):
        truncated_unroll(DESCENT, good, 0)
    for factory in (evolution_strategies, persistent_evolution_strategies):
        for sigma in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="`sigma` must be positive"):
                factory(DESCENT, good, 5, sigma)
        with pytest.raises(ValueError, match="`unroll` must be positive"):
            factory(DESCENT, good, 0, 0.1)
    for name, steps, target_steps in (("steps", 0, 1), ("target_steps", 1, 0)):
        with pytest.raises(ValueError, match=f"`{name}` must be positive and finite, got 0"):
            bootstrapped(DESCENT, good, steps, target_steps, descend, match)
    with pytest.raises(ValueError, match="lifetimes of one length"):
        full_unroll(DESCENT, Lifetimes(4, lambda count, generator: torch.ones(count)))


def test_a_lifetimes_loss_is_the_mean_over_the_steps_that_it_lived() -> None:
    """Step k costs k: a lifetime of T steps in one unroll has the mean loss (T - 1) / 2."""
    counting = Problem(lambda theta, seed: (), lambda theta, carry, data, k: (carry, k + 0.0 * theta["a"]["a"]))
    lifetimes = Lifetimes(COUNT, COUNT)
    for estimator in (
        truncated_unroll(counting, lifetimes, COUNT),
        evolution_strategies(counting, lifetimes, COUNT, 0.1),
        persistent_evolution_strategies(counting, lifetimes, COUNT, 0.1),
        bootstrapped(counting, lifetimes, 3, COUNT - 2, lambda theta, carry, data, k: carry, lambda a, b, data: data),
    ):
        theta, data = {"a": {"a": torch.tensor(1.0)}}, torch.zeros(COUNT, estimator.steps)
        result = estimator.estimate(theta, estimator.init(theta, seeded(0)), data, seeded(0))
        assert result.losses.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        assert [result.metrics[name] for name in ("meta_loss", "diverged", "finished")] == [1.25, 0.0, 6.0]
