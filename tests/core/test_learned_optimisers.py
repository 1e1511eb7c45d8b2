"""Laws of learned optimisers as inner rules: no unit of the loss, no order of parameters, derivatives."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import Rule, adapt
from maml_rl.core.rules.hierarchical import Units, hierarchical, initial_hierarchical
from maml_rl.core.rules.per_parameter import DECAYS, OPTIMISER, OWN, initial_per_parameter, per_parameter
from maml_rl.core.tree import flatten, map_tree
from maml_rl.core.types import InnerState, Meta, Params
from tests.core.problems import tanh_loss, tanh_problem

STEPS = 5


def _meta(weights: Params) -> Meta:
    """Weights that are far from where meta-training begins, so that every part has its effect."""
    generator = torch.Generator().manual_seed(3)
    spread = {
        name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        for name, leaf in weights.items()
    }
    return {OPTIMISER: spread}


GENERATOR = torch.Generator().manual_seed(0)
CASES: dict[str, tuple[Rule, Meta]] = {
    "per_parameter": (per_parameter(STEPS), _meta(initial_per_parameter([6], GENERATOR, torch.float64))),
    "hierarchical": (hierarchical(0.01), _meta(initial_hierarchical(Units(3, 4, 2), GENERATOR, torch.float64))),
}
every_rule = pytest.mark.parametrize(("rule", "meta"), CASES.values(), ids=CASES)


def _path(rule: Rule, meta: Meta, params: Params, loss: Callable[..., Any] = tanh_loss) -> list[Params]:
    return [state.params for state in adapt(params, [tanh_problem()[1]] * STEPS, loss, rule, meta)]


@every_rule
def test_the_unit_of_the_loss_does_not_matter(rule: Rule, meta: Meta) -> None:
    params, _ = tanh_problem()
    plain = _path(rule, meta, params)
    for factor in (1e-3, 300.0):
        scaled = _path(rule, meta, params, lambda *given, factor=factor: (factor * tanh_loss(*given)[0], ()))
        torch.testing.assert_close(scaled[-1], plain[-1], rtol=1e-5, atol=1e-7)
    assert (plain[-1]["a"] - params["a"]).abs().min() > 1e-5


@every_rule
def test_the_order_of_parameters_and_of_tensors_does_not_matter(rule: Rule, meta: Meta) -> None:
    params, _ = tanh_problem()
    order = torch.tensor([2, 0, 3, 1])

    def shuffled(tree: Params) -> Params:
        return {name: tree[name][..., order] for name in ("b", "a")}

    def back(tree: Params) -> Params:
        return {name: tree[name][..., order.argsort()] for name in ("a", "b")}

    plain = _path(rule, meta, params)
    mixed = _path(rule, meta, shuffled(params), lambda phi, *rest: tanh_loss(back(phi), *rest))
    for point, other in zip(plain, mixed, strict=True):
        torch.testing.assert_close(back(other), point, rtol=1e-10, atol=1e-12)


@every_rule
def test_meta_gradients_are_those_of_finite_differences(rule: Rule, meta: Meta) -> None:
    params, _ = tanh_problem()
    query = tanh_problem(1)[1]

    def meta_loss(weights: Params) -> Tensor:
        return tanh_loss(_path(rule, {OPTIMISER: weights}, params)[-1], query, {}, 0)[0]

    slopes, generator = torch.func.grad(meta_loss)(meta[OPTIMISER]), torch.Generator().manual_seed(1)
    for name, leaf in meta[OPTIMISER].items():
        along = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        ends = [meta_loss({**meta[OPTIMISER], name: leaf + sign * 1e-6 * along}) for sign in (1, -1)]
        assert (slopes[name] * along).sum().item() == pytest.approx(
            float((ends[0] - ends[1]) / 2e-6), rel=1e-4, abs=1e-9
        )


@every_rule
def test_every_weight_has_an_effect(rule: Rule, meta: Meta) -> None:
    params, _ = tanh_problem()
    slopes = torch.func.grad(lambda theta: tanh_loss(_path(rule, theta, params)[-1], tanh_problem(1)[1], {}, 0)[0])(
        meta
    )
    assert all(leaf.abs().max() > 0 for leaf in slopes[OPTIMISER].values())


def test_the_hierarchical_one_begins_as_momentum_of_steady_length() -> None:
    meta = {OPTIMISER: initial_hierarchical(Units(), torch.Generator().manual_seed(0), torch.float64)}
    still = {**meta[OPTIMISER], **{name: 0 * meta[OPTIMISER][name] for name in ("direction", "rate")}}
    params, _ = tanh_problem()
    path = _path(hierarchical(0.02), {OPTIMISER: still}, params)
    for before, after in pairwise(path):
        for name in params:
            assert (after[name] - before[name]).square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-9)


def test_the_first_learning_rate_is_no_input_of_the_hierarchical_one() -> None:
    """The units see rates without their mean, so a first step is as long as the rate and goes the same way."""
    (_, meta), (params, _) = CASES["hierarchical"], tanh_problem()
    slow, fast = (_path(hierarchical(rate), meta, params)[1] for rate in (0.01, 0.03))
    for name, leaf in params.items():
        torch.testing.assert_close((fast[name] - leaf) / 3, slow[name] - leaf, rtol=1e-9, atol=1e-14)


def test_the_per_parameter_one_goes_by_the_length_of_the_training() -> None:
    """First steps go with T^(-1/2), and what is behind the end hardly moves."""
    (_, meta), (params, _) = CASES["per_parameter"], tanh_problem()
    short, long = (_path(per_parameter(horizon), meta, params) for horizon in (4, 100))
    for name, leaf in params.items():
        torch.testing.assert_close(5 * (long[1][name] - leaf), short[1][name] - leaf, rtol=1e-9, atol=1e-14)
        moved = [(after[name] - before[name]).abs().mean() for before, after in pairwise(short)]
        assert moved[4] < 0.02 * moved[0]  # the fifth step of four


def test_the_per_parameter_one_begins_as_adam() -> None:
    weights = initial_per_parameter([6], torch.Generator().manual_seed(0), torch.float64)
    still = {**weights, "layer1.weight": 0 * weights["layer1.weight"]}
    params = tanh_problem()[0]
    sizes = {name: (leaf.square().mean() + 0.01).sqrt() for name, leaf in params.items()}
    path = _path(per_parameter(STEPS), {OPTIMISER: still}, params)
    mean = square = recent = dict.fromkeys(params, 0.0)
    largest = dict.fromkeys(params, torch.tensor(0.0))
    for k, (before, after) in enumerate(pairwise(path)):
        slope = torch.func.grad(lambda phi: tanh_loss(phi, tanh_problem()[1], {}, 0)[0])(before)
        mean = {name: 0.9 * mean[name] + 0.1 * slope[name] for name in params}
        square = {name: 0.999 * square[name] + 0.001 * slope[name].square() for name in params}
        recent = {name: 0.99 * recent[name] + 0.01 * slope[name].square().mean() for name in params}
        for name in params:
            now = (recent[name] / (1 - 0.99 ** (k + 1))).sqrt()
            largest[name] = max(largest[name], now)
            step = mean[name] / (1 - 0.9 ** (k + 1)) / (square[name] / (1 - 0.999 ** (k + 1))).sqrt()
            height = 1 + torch.log10(now / largest[name]) / 2
            wanted = before[name] - sizes[name] * STEPS**-0.5 * (1 - k / STEPS) ** height * step
            torch.testing.assert_close(after[name], wanted, rtol=1e-6, atol=1e-9)


def test_there_is_no_schedule_where_gradients_have_vanished() -> None:
    """Nine tenths of the training are over, so a schedule would leave a tenth of the step to the power p = 1."""
    weights = initial_per_parameter([6], torch.Generator().manual_seed(0), torch.float64)
    meta = {OPTIMISER: {**weights, "layer1.weight": 0 * weights["layer1.weight"]}}
    params = {"one": torch.zeros(3, dtype=torch.float64), "other": torch.zeros(2, dtype=torch.float64)}
    rule = per_parameter(2000)
    state = InnerState(params, rule.start(params, meta))
    for k in range(1801):
        before = state
        slope = 1.0 if k < 20 else 1e-3
        signal = {"one": torch.full((3,), slope).double(), "other": torch.ones(2).double()}
        state = rule.move(signal, before, meta, torch.tensor(k))
    mean_square = (before.memory["square"][0] * 0.999 + 0.001 * 1e-6) / (1 - 0.999**1801)
    longest = 0.1 * 2000**-0.5
    assert float(before.params["one"][0] - state.params["one"][0]) == pytest.approx(
        longest * 1e-3 / float(mean_square) ** 0.5, rel=1e-6
    )
    assert float(before.params["other"][0] - state.params["other"][0]) == pytest.approx(0.1 * longest, rel=1e-6)


def test_the_perceptron_is_told_how_far_gradients_have_fallen() -> None:
    """One unit passes the feature on to the exponent s: it is 1 at the first step, and at the second one, whose mean
    square of gradients is (0.99 + 1e-4) / 1.99 of the first's, 1 + log10 of that / 4."""
    still = map_tree(torch.zeros_like, initial_per_parameter([6], torch.Generator(), torch.float64))
    still = {**still, "follow": torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)}
    told = {**still, "layer0.weight": still["layer0.weight"].clone(), "layer1.weight": still["layer1.weight"].clone()}
    told["layer0.weight"][0, OWN + 1 + len(DECAYS)] = told["layer1.weight"][1, 0] = 1.0
    params, rule = {"w": torch.zeros(3, dtype=torch.float64)}, per_parameter(10)
    moves = []
    for weights in (still, told):
        state, steps = InnerState(params, rule.start(params, {OPTIMISER: weights})), []
        for k, slope in enumerate((1.0, 0.01)):
            signal = {"w": torch.full((3,), slope, dtype=torch.float64)}
            moved = rule.move(signal, state, {OPTIMISER: weights}, torch.tensor(k))
            steps.append(float(moved.params["w"][0] - state.params["w"][0]))
            state = moved
        moves.append(steps)
    heights = [math.log(one / other) for other, one in zip(*moves, strict=True)]
    assert heights == pytest.approx([1, 1 + math.log10((0.99 + 1e-4) / 1.99) / 4], rel=1e-9)


def test_steps_of_the_per_parameter_one_fall_with_the_gradients() -> None:
    """Whatever the perceptron says: without noise a training is to come to rest, as Adam's does."""
    (_, meta), (params, _) = CASES["per_parameter"], tanh_problem()
    weights, own = meta[OPTIMISER], {"follow": torch.zeros(4, dtype=torch.float64)}
    last = weights["layer1.weight"] * torch.tensor([[1.0], [0.0]], dtype=torch.float64)  # no say on the length
    meta = {OPTIMISER: {**weights, **own, "layer1.weight": last}}
    rule, slope = per_parameter(10_000), {name: torch.ones_like(leaf) for name, leaf in params.items()}
    state, lengths = InnerState(params, rule.start(params, meta)), []
    for k in range(150):
        signal = slope if k < 50 else map_tree(lambda leaf: 1e-4 * leaf, slope)
        moved = rule.move(signal, state, meta, torch.tensor(k))
        lengths.append((flatten(moved.params) - flatten(state.params)).norm())
        state = moved
    assert lengths[49] > 1e-3
    assert lengths[149] < 1e-2 * lengths[49]


@every_rule
def test_float32_stays_so(rule: Rule, meta: Meta) -> None:
    params, batch = tanh_problem()
    single = map_tree(Tensor.float, (params, meta, batch))
    states = adapt(single[0], [single[2]] * 2, tanh_loss, rule, single[1])
    leaves = flatten(states[-1].params), flatten(states[-1].memory)
    assert {leaf.dtype for leaf in leaves} == {torch.float32}
