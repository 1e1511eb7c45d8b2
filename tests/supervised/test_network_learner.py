"""The supervised learner against plain loops over tasks with torch.nn modules, and finite differences, in float64."""

import pytest
import torch
import torch.nn.functional as F

from maml_rl.core import (
    Mode,
    Objective,
    constant,
    final,
    first_order,
    implicit,
    initial_rates,
    learned_rates,
    proximal_sgd,
    sgd,
    uniform,
    unrolled,
)
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Meta, Params
from maml_rl.supervised.network_learner import ensemble
from maml_rl.supervised.task_distribution import Labelled
from tests.supervised.problems import (
    DTYPE,
    RATE,
    PlainMLP,
    classifier,
    conv,
    finite_difference,
    images,
    loop_over_tasks,
    regressor,
    sines,
    slope,
    start,
    tanh_mlp,
)


@pytest.mark.parametrize("mode", [unrolled(), first_order()], ids=lambda mode: mode.name)
@pytest.mark.parametrize(("objective", "steps"), [(final(), 1), (final(), 3), (uniform(), 3), (final(), 0)])
def test_the_mapped_gradient_equals_a_loop_over_tasks(mode: Mode, objective: Objective, steps: int) -> None:
    network, tasks = tanh_mlp(), sines()
    meta, _ = start(network)
    result = regressor(network, sgd(constant(RATE))).meta_loss(meta, {}, tasks, steps, mode, objective)
    weights = {point.step: point.weight for point in objective.points(steps)}
    expected = loop_over_tasks(meta["network"], tasks, steps, mode.name == "unrolled", weights)
    for name, leaf in expected.items():
        torch.testing.assert_close(result.gradient["network"][name], leaf, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("downsampling", ["stride", "max_pool"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_whole_meta_gradient_of_maml_plus_plus_equals_finite_differences(downsampling: str, steps: int) -> None:
    network, tasks = conv(downsampling, steps=2), images()
    learner = classifier(network, learned_rates())
    meta, _ = start(network)
    meta["rates"] = initial_rates(learner.adapted(meta["network"]), constant(0.1), steps)
    generator = torch.Generator().manual_seed(3)

    def value(meta: Meta) -> float:
        return float(learner.meta_loss(meta, {}, tasks, steps, unrolled(), uniform()).losses.mean())

    gradient = learner.meta_loss(meta, {}, tasks, steps, unrolled(), uniform()).gradient
    assert {group: params.keys() for group, params in gradient.items()} == {g: p.keys() for g, p in meta.items()}
    for part in ("rates/", "norm.scale", "norm.shift", "network/head", "network/block0.weight"):
        direction = {
            group: {
                name: torch.randn(leaf.shape, generator=generator, dtype=DTYPE) * (part in f"{group}/{name}")
                for name, leaf in params.items()
            }
            for group, params in meta.items()
        }
        expected = finite_difference(value, meta, direction)
        assert slope(meta, gradient, direction) == pytest.approx(expected, rel=1e-4, abs=1e-7), part


def test_first_order_gradients_of_what_is_not_adapted_take_the_signal_for_a_constant() -> None:
    network, tasks = conv(), images()
    meta, _ = start(network)
    params = meta["network"]
    result = classifier(network, sgd(constant(0.3))).meta_loss(meta, {}, tasks, 1, first_order(), final()).gradient
    # By hand: adapt without a graph, then differentiate the query loss in all parameters where adaptation ended.
    expected = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
    for task in range(2):
        support, query = (Labelled(part.inputs[task], part.targets[task]) for part in (tasks.support, tasks.query))

        def loss(params: Params, batch: Labelled = support) -> torch.Tensor:
            return F.cross_entropy(network.apply(params, batch.inputs, 0, None)[0], batch.targets)

        signal = torch.func.grad(loss)(params)
        phi = {n: p - 0.3 * signal[n] * (n not in network.fixed) for n, p in params.items()}
        there = torch.func.grad(lambda params, query=query, loss=loss: loss(params, query))(phi)
        expected = {name: expected[name] + there[name] / 2 for name in expected}
    for name, leaf in expected.items():
        torch.testing.assert_close(result["network"][name], leaf, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["head", "norm"])
def test_the_implicit_gradient_at_the_minimum_reaches_what_is_not_adapted(case: str) -> None:
    """The layers below an adapted head, and scale and shift of a normalisation, against finite differences."""
    rule, steps = proximal_sgd(constant(0.01), 40.0), 60
    if case == "head":
        network, tasks = tanh_mlp(), sines()
        learner = regressor(network, rule, lambda name: name.startswith(network.head))
        others = ["layer0.weight", "layer1.bias"]
    else:
        network, tasks = conv(), images()
        learner = classifier(network, rule)
        others = ["block0.norm.scale", "block3.norm.shift"]
    meta, _ = start(network)

    def value(meta: Meta) -> float:
        return float(learner.meta_loss(meta, {}, tasks, steps, implicit(30), final()).losses.mean())

    gradient = learner.meta_loss(meta, {}, tasks, steps, implicit(30), final()).gradient
    local = learner.meta_loss(meta, {}, tasks, steps, first_order(), final()).gradient
    for name in [*others, f"{network.head}weight"]:
        along = {key: torch.cos(torch.arange(leaf.numel()).to(DTYPE)).view_as(leaf) * (key == name)
                 for key, leaf in meta["network"].items()}  # fmt: skip
        expected = finite_difference(value, meta, {"network": along}, 1e-6)
        assert slope(meta, gradient, {"network": along}) == pytest.approx(expected, rel=1e-4, abs=1e-8), name
        # What the first order leaves out is large enough to be seen.
        assert slope(meta, local, {"network": along}) != pytest.approx(expected, rel=1e-3), name


@pytest.mark.parametrize("mode", [unrolled(), first_order(), implicit(5)], ids=lambda mode: mode.name)
def test_chunks_of_tasks_do_not_matter(mode: Mode) -> None:
    network, tasks = conv(adapt_norm=True, running=mode.name != "implicit"), images(tasks=5)
    learner = classifier(network, proximal_sgd(constant(0.1), 2.0))
    whole, parts = (learner.meta_loss(*start(network), tasks, 2, mode, final(), chunk) for chunk in (0, 2))
    torch.testing.assert_close(whole.losses, parts.losses)
    for name, leaf in whole.gradient["network"].items():
        torch.testing.assert_close(leaf, parts.gradient["network"][name], rtol=1e-9, atol=1e-12)
    for name in whole.statistics:
        torch.testing.assert_close(whole.statistics[name], parts.statistics[name])


def test_evaluation_leaves_everything_as_it_was() -> None:
    network, tasks = conv(running=True), images()
    state = start(network)
    before = map_tree(torch.clone, state)
    learner = classifier(network, sgd(constant(0.1)))
    outputs = learner.outputs(*state, tasks.support, tasks.query.inputs, 3)
    assert len(outputs) == 4
    map_tree(lambda one, other: torch.testing.assert_close(one, other, rtol=0.0, atol=0.0), before, state)
    again = learner.outputs(*state, tasks.support, tasks.query.inputs, 3, chunk=1)
    for first, second in zip(outputs, again, strict=True):
        torch.testing.assert_close(first, second)


def test_anil_with_all_parameters_is_maml_and_moves_the_head_alone() -> None:
    network, tasks = tanh_mlp(), sines()
    (meta, _), rule = start(network), sgd(constant(RATE))
    named = regressor(network, rule, lambda name: name.startswith("layer"))
    head = regressor(network, rule, lambda name: name.startswith(network.head))
    whole = regressor(network, rule).meta_loss(meta, {}, tasks, 2, unrolled(), final())
    result = named.meta_loss(meta, {}, tasks, 2, unrolled(), final())
    for name, leaf in whole.gradient["network"].items():
        torch.testing.assert_close(result.gradient["network"][name], leaf, rtol=1e-12, atol=1e-14)
    assert list(head.adapted(meta["network"])) == ["layer2.weight", "layer2.bias"]

    def value(meta: Meta) -> float:
        return float(head.meta_loss(meta, {}, tasks, 2, unrolled(), final()).losses.mean())

    direction = map_tree(lambda leaf: torch.cos(torch.arange(leaf.numel())).view_as(leaf), meta)
    gradient = head.meta_loss(meta, {}, tasks, 2, unrolled(), final()).gradient
    expected = finite_difference(value, meta, direction)
    assert slope(meta, gradient, direction) == pytest.approx(expected, rel=1e-5)
    assert all(float(leaf.abs().sum()) > 0 for name, leaf in gradient["network"].items() if name.endswith("weight"))


def test_meta_sgd_with_the_rates_it_starts_with_is_maml() -> None:
    network, tasks = tanh_mlp(), sines()
    meta, _ = start(network)
    rates = initial_rates(meta["network"], constant(RATE), 2, per_scalar=True)
    plain = regressor(network, sgd(constant(RATE))).meta_loss(meta, {}, tasks, 2, unrolled(), final())
    learner = regressor(network, learned_rates())
    result = learner.meta_loss({**meta, "rates": rates}, {}, tasks, 2, unrolled(), final())
    for name, leaf in plain.gradient["network"].items():
        torch.testing.assert_close(result.gradient["network"][name], leaf, rtol=1e-12, atol=1e-14)
        assert result.gradient["rates"][name].shape == (1, *leaf.shape)
        assert float(result.gradient["rates"][name].abs().sum()) > 0


def test_reptile_with_one_step_is_the_gradient_of_joint_training() -> None:
    network, tasks = tanh_mlp(), sines()
    meta, _ = start(network)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in meta["network"].items()}
    joint = torch.stack(
        [
            F.mse_loss(torch.func.functional_call(PlainMLP(), leaves, (inputs,)), targets)
            for inputs, targets in zip(tasks.support.inputs, tasks.support.targets, strict=True)
        ]
    ).mean()
    expected = dict(zip(leaves, torch.autograd.grad(joint, list(leaves.values())), strict=True))
    for chunk in (0, 3):
        result = regressor(network, sgd(constant(RATE))).displacement(meta, {}, tasks, 1, chunk)
        for name, leaf in expected.items():
            torch.testing.assert_close(result.gradient["network"][name], RATE * leaf, rtol=1e-10, atol=1e-13)


def test_reptile_moves_towards_the_mean_of_the_adapted_parameters() -> None:
    """And what is not adapted stays."""
    network, tasks = tanh_mlp(), sines()
    meta, _ = start(network)
    learner = regressor(network, sgd(constant(RATE)), lambda name: not name.startswith("layer0"))
    result = learner.displacement(meta, {}, tasks, 3).gradient["network"]
    total = {name: torch.zeros_like(leaf) for name, leaf in meta["network"].items()}
    for inputs, targets in zip(*tasks.support, strict=True):
        phi = {name: leaf.clone().requires_grad_() for name, leaf in meta["network"].items()}
        for _ in range(3):
            outputs = torch.func.functional_call(PlainMLP(), phi, (inputs,))
            slopes = torch.autograd.grad(F.mse_loss(outputs, targets), list(phi.values()))
            phi = {
                name: (leaf - RATE * slope * (not name.startswith("layer0"))).detach().requires_grad_()
                for (name, leaf), slope in zip(phi.items(), slopes, strict=True)
            }
        total = {name: leaf + phi[name].detach() / 4 for name, leaf in total.items()}
    for name, leaf in meta["network"].items():
        torch.testing.assert_close(result[name], leaf - total[name], rtol=1e-10, atol=1e-13)
    assert not bool(result["layer0.weight"].any())


def test_an_ensemble_averages_outputs() -> None:
    first, second = ([torch.tensor([[1.0, 3.0]])], [torch.tensor([[3.0, 5.0]])])
    assert ensemble([first, second])[0].tolist() == [[2.0, 4.0]]
