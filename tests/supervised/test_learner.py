"""The supervised learner against plain loops over tasks with torch.nn modules, and finite differences, in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from maml_rl.core.rules import RATES
from maml_rl.core.types import Params
from maml_rl.supervised.batch_norm import batch_norm
from maml_rl.supervised.losses import accuracy
from maml_rl.supervised.network_learner import Learner, Meta, ensemble
from maml_rl.supervised.networks import Network, NetworkConfig, conv4, from_module, mlp, network_for
from maml_rl.supervised.sinusoid import Sinusoid
from maml_rl.supervised.task_distribution import Labelled, TaskBatch

RATE = 0.05
KIND = torch.float64


def _sines(tasks: int = 4, seed: int = 0) -> TaskBatch:
    return Sinusoid().sample(np.random.default_rng(seed), tasks, 5, 7, "train")


def _images(tasks: int = 2, ways: int = 3, seed: int = 0) -> TaskBatch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(ways).repeat(2).expand(tasks, -1)
    draw = lambda: torch.randn(tasks, 2 * ways, 1, 16, 16, generator=generator, dtype=KIND)  # noqa: E731
    return TaskBatch(Labelled(draw(), labels), Labelled(draw(), labels), {})


def _tanh_mlp() -> Network:
    return mlp([1, 8, 8, 1], torch.tanh)


def _conv(downsampling: str = "stride", steps: int = 1, running: bool = False, adapt_norm: bool = False) -> Network:
    return conv4((1, 16, 16), 3, 4, downsampling, torch.tanh, batch_norm(running, steps), adapt_norm)


def _meta(network: Network, seed: int = 0) -> Meta:
    return Meta(network.initial(torch.Generator().manual_seed(seed), KIND), network.statistics(KIND))


class _Plain(nn.Module):
    """The same mlp as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer0, self.layer1, self.layer2 = (nn.Linear(*sizes, dtype=KIND) for sizes in ((1, 8), (8, 8), (8, 1)))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer2(torch.tanh(self.layer1(torch.tanh(self.layer0(inputs)))))


def _loop(params: Params, tasks: TaskBatch, steps: int, second_order: bool, weights: dict[int, float]) -> Params:
    """MAML as a textbook loop over tasks, without this project's core."""
    module = _Plain()
    theta = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    total = torch.zeros((), dtype=KIND)
    for task in range(len(tasks.support.inputs)):
        phi, call = dict(theta), lambda phi, x: torch.func.functional_call(module, phi, (x,))
        for step in range(steps + 1):
            if step in weights:
                total = total + weights[step] * F.mse_loss(
                    call(phi, tasks.query.inputs[task]), tasks.query.targets[task]
                )
            if step < steps:
                loss = F.mse_loss(call(phi, tasks.support.inputs[task]), tasks.support.targets[task])
                gradients = torch.autograd.grad(loss, list(phi.values()), create_graph=second_order)
                phi = {name: leaf - RATE * g for (name, leaf), g in zip(phi.items(), gradients, strict=True)}
    gradients = torch.autograd.grad(total / len(tasks.support.inputs), list(theta.values()))
    return dict(zip(theta, gradients, strict=True))


@pytest.mark.parametrize("mode", [unrolled(), first_order()], ids=lambda mode: mode.name)
@pytest.mark.parametrize(("objective", "steps"), [(final(), 1), (final(), 3), (uniform(), 3), (final(), 0)])
def test_the_mapped_gradient_equals_a_loop_over_tasks(mode: Mode, objective: Objective, steps: int) -> None:
    network, tasks = _tanh_mlp(), _sines()
    meta = _meta(network)
    found = Learner(network, "regression", sgd(constant(RATE))).meta_loss(meta, tasks, steps, mode, objective)
    weights = {point.step: point.weight for point in objective.points(steps)}
    expected = _loop(meta.params, tasks, steps, mode.name == "unrolled", weights)
    for name, leaf in expected.items():
        torch.testing.assert_close(found.gradient[name], leaf, rtol=1e-10, atol=1e-13)


def _finite_difference(value: Callable[[Params], float], params: Params, direction: Params) -> float:
    """A short step: a maximum that changes its place within it would spoil the second order."""
    size = 1e-7
    ahead, behind = (
        value({name: leaf + sign * size * direction[name] for name, leaf in params.items()}) for sign in (1, -1)
    )
    return (ahead - behind) / (2 * size)


@pytest.mark.parametrize("downsampling", ["stride", "max_pool"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_whole_meta_gradient_of_maml_plus_plus_equals_finite_differences(downsampling: str, steps: int) -> None:
    network, tasks = _conv(downsampling, steps=2), _images()
    learner = Learner(network, "classification", learned_rates(), learns_rates=True)
    params = _meta(network).params
    adapted = {name: leaf for name, leaf in params.items() if name not in network.fixed}
    params = {**params, **{RATES + k: v for k, v in initial_rates(adapted, constant(0.1), steps).items()}}
    generator = torch.Generator().manual_seed(3)

    def value(params: Params) -> float:
        return float(learner.meta_loss(Meta(params, {}), tasks, steps, unrolled(), uniform()).losses.mean())

    gradient = learner.meta_loss(Meta(params, {}), tasks, steps, unrolled(), uniform()).gradient
    assert gradient.keys() == params.keys()
    kinds = [RATES, "norm.scale", "norm.shift", "head", "block0.weight"]
    for kind in kinds:
        direction = {
            name: torch.randn(leaf.shape, generator=generator, dtype=KIND) * (kind in name)
            for name, leaf in params.items()
        }
        slope = sum(float((gradient[name] * direction[name]).sum()) for name in params)
        assert slope == pytest.approx(_finite_difference(value, params, direction), rel=1e-4, abs=1e-7), kind


def test_first_order_gradients_of_what_is_not_adapted_take_the_signal_for_a_constant() -> None:
    network, tasks = _conv(), _images()
    learner = Learner(network, "classification", sgd(constant(0.3)))
    meta = _meta(network)
    found = learner.meta_loss(meta, tasks, 1, first_order(), final()).gradient
    # By hand: adapt without a graph, then differentiate the query loss in all parameters where adaptation ended.
    expected = {name: torch.zeros_like(leaf) for name, leaf in meta.params.items()}
    for task in range(2):
        support, query = (Labelled(part.inputs[task], part.targets[task]) for part in (tasks.support, tasks.query))

        def loss(params: Params, batch: Labelled = support) -> Tensor:
            return F.cross_entropy(network.apply(params, batch.inputs, 0, None)[0], batch.targets)

        signal = torch.func.grad(loss)(meta.params)
        phi = {n: p - 0.3 * signal[n] * (n not in network.fixed) for n, p in meta.params.items()}
        there = torch.func.grad(lambda params, query=query, loss=loss: loss(params, query))(phi)
        expected = {name: expected[name] + there[name] / 2 for name in expected}
    for name, leaf in expected.items():
        torch.testing.assert_close(found[name], leaf, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", [unrolled(), first_order(), implicit(5)], ids=lambda mode: mode.name)
def test_chunks_of_tasks_do_not_matter(mode: Mode) -> None:
    network, tasks = _conv(adapt_norm=True, running=mode.name != "implicit"), _images(tasks=5)
    learner = Learner(network, "classification", proximal_sgd(constant(0.1), 2.0))
    whole, parts = (learner.meta_loss(_meta(network), tasks, 2, mode, final(), chunk) for chunk in (0, 2))
    torch.testing.assert_close(whole.losses, parts.losses)
    for name in whole.gradient:
        torch.testing.assert_close(whole.gradient[name], parts.gradient[name], rtol=1e-9, atol=1e-12)
    for name in whole.statistics:
        torch.testing.assert_close(whole.statistics[name], parts.statistics[name])


def test_evaluation_leaves_everything_as_it_was() -> None:
    network, tasks = _conv(running=True), _images()
    meta = _meta(network)
    before = {name: leaf.clone() for name, leaf in (meta.params | meta.statistics).items()}
    learner = Learner(network, "classification", sgd(constant(0.1)))
    outputs = learner.outputs(meta, tasks.support, tasks.query.inputs, 3)
    assert len(outputs) == 4
    assert all(torch.equal(before[name], leaf) for name, leaf in (meta.params | meta.statistics).items())
    again = learner.outputs(meta, tasks.support, tasks.query.inputs, 3, chunk=1)
    for first, second in zip(outputs, again, strict=True):
        torch.testing.assert_close(first, second)


def test_queries_depend_on_each_other_in_the_transductive_mode_only() -> None:
    tasks = _images()
    others = tasks.query.inputs.clone()
    others[:, 1:] += 1.0
    for running in (False, True):
        network = _conv(running=running)
        learner = Learner(network, "classification", sgd(constant(0.1)))
        first, second = (
            learner.outputs(_meta(network), tasks.support, inputs, 2)[-1][:, 0]
            for inputs in (tasks.query.inputs, others)
        )
        if running:
            torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)
        else:
            assert float((first - second).abs().max()) > 1e-3


def test_running_statistics_matter_in_the_running_mode_only_and_by_their_own_step() -> None:
    network, tasks = _conv(running=True, steps=2), _images()
    learner = Learner(network, "classification", sgd(constant(0.1)))
    meta = _meta(network)
    learned = learner.meta_loss(meta, tasks, 2, unrolled(), final())
    assert all(not torch.equal(leaf, meta.statistics[name]) for name, leaf in learned.statistics.items())
    # Training normalises with the batch's own: the gradient does not see the running ones.
    moved = Meta(meta.params, {name: leaf + 0.5 for name, leaf in meta.statistics.items()})
    for name, leaf in learner.meta_loss(moved, tasks, 2, unrolled(), final()).gradient.items():
        assert torch.equal(leaf, learned.gradient[name])
    plain, shifted = (learner.outputs(each, tasks.support, tasks.query.inputs, 2) for each in (meta, moved))
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(plain, shifted, strict=True))
    second = {name: torch.stack([leaf[0], leaf[1] + 0.5]) for name, leaf in meta.statistics.items()}
    partly = learner.outputs(Meta(meta.params, second), tasks.support, tasks.query.inputs, 2)
    assert torch.equal(partly[0], plain[0])
    assert torch.equal(partly[1], plain[1])
    assert not torch.equal(partly[2], plain[2])


def test_running_statistics_of_the_first_step_are_those_of_torch() -> None:
    network, tasks = _conv(running=True), _images(tasks=1)
    learner = Learner(network, "classification", sgd(constant(0.0)))
    meta = _meta(network)
    found = learner.meta_loss(meta, tasks, 1, unrolled(), final()).statistics
    layer = nn.BatchNorm2d(4, dtype=KIND)
    weight, bias = meta.params["block0.weight"], meta.params["block0.bias"]
    layer(F.conv2d(tasks.query.inputs[0], weight, bias, stride=2, padding=1))
    torch.testing.assert_close(found["block0.norm.mean"][0], layer.running_mean)
    torch.testing.assert_close(found["block0.norm.var"][0], layer.running_var)


def _seeded(seed: int) -> nn.Module:
    """The module that its own constructor makes when the network's generator has this seed."""
    word = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(word)
        return _Plain()


def test_a_module_is_a_network() -> None:
    tasks, ours = _sines(), _tanh_mlp()
    wrapped = from_module(_Plain)
    drawn = wrapped.initial(torch.Generator().manual_seed(0), KIND)
    assert drawn.keys() == ours.initial(torch.Generator().manual_seed(0), KIND).keys()
    again = wrapped.initial(torch.Generator().manual_seed(0), KIND)
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    first, second = (
        Learner(network, "regression", sgd(constant(RATE))).meta_loss(Meta(drawn, {}), tasks, 2, unrolled(), final())
        for network in (wrapped, ours)
    )
    for name in drawn:
        torch.testing.assert_close(first.gradient[name], second.gradient[name], rtol=1e-12, atol=1e-14)
    assert all(torch.equal(drawn[name], leaf.detach()) for name, leaf in _seeded(0).named_parameters())
    with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module"):
        from_module(lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match=r"buffers: 0\.running_mean"):
        from_module(lambda: nn.Sequential(nn.BatchNorm1d(3)))


def test_initial_weights() -> None:
    params = network_for(NetworkConfig(initial_std=0.01), (1,), 1).initial(torch.Generator().manual_seed(0), KIND)
    weight = params["layer1.weight"]
    assert weight.shape == (40, 40)
    assert float(weight.abs().max()) <= 0.02
    assert float(weight.std()) == pytest.approx(0.0088, rel=0.05)  # a normal cut at two sigma has 0.88 of its spread
    glorot = network_for(NetworkConfig(), (1,), 1).initial(torch.Generator().manual_seed(0), KIND)["layer1.weight"]
    assert float(glorot.abs().max()) <= (6 / 80) ** 0.5
    assert float(glorot.std()) == pytest.approx((6 / 80) ** 0.5 / 3**0.5, rel=0.05)


def test_networks_refuse_what_they_cannot_take() -> None:
    with pytest.raises(ValueError, match="takes images"):
        network_for(NetworkConfig(id="conv4"), (3,), 5)
    with pytest.raises(ValueError, match="at least 16 x 16"):
        network_for(NetworkConfig(id="conv4", downsampling="max_pool"), (1, 8, 8), 5)
    with pytest.raises(ValueError, match="there is no network 'mpl'"):
        network_for(NetworkConfig(id="mpl"), (3,), 5)
    with pytest.raises(ValueError, match="cannot be made"):
        network_for(NetworkConfig(id="torch.nn:Missing"), (3,), 5)
    for wrong in ({"hidden": [0]}, {"filters": 0}, {"norm_steps": 0}, {"initial_std": -1.0}):
        with pytest.raises(ValueError, match="network"):
            NetworkConfig(**wrong)  # type: ignore[arg-type]


def test_an_ensemble_averages_outputs() -> None:
    first, second = ([torch.tensor([[1.0, 3.0]])], [torch.tensor([[3.0, 5.0]])])
    assert ensemble([first, second])[0].tolist() == [[2.0, 4.0]]


def test_sinusoids_are_the_papers() -> None:
    tasks = Sinusoid().sample(np.random.default_rng(0), 4000, 5, 5, "train")
    amplitude, phase = (torch.from_numpy(tasks.parameters[name])[:, None, None] for name in ("amplitude", "phase"))
    for part in (tasks.support, tasks.query):
        torch.testing.assert_close(part.targets, amplitude * torch.sin(part.inputs - phase))
    for values, least, most in ((amplitude, 0.1, 5.0), (phase, 0.0, np.pi), (tasks.support.inputs, -5.0, 5.0)):
        assert least <= float(values.min()) < least + 0.01 * (most - least)
        assert most - 0.01 * (most - least) < float(values.max()) <= most
        assert float(values.mean()) == pytest.approx((least + most) / 2, rel=0.03, abs=0.05)


def test_the_accuracy_of_what_is_not_finite_is_not_a_number() -> None:
    logits = torch.zeros(2, 3, 2)
    logits[1, 2, 0] = torch.nan
    found = accuracy(logits, torch.zeros(2, 3, dtype=torch.long))
    assert float(found[0]) == 1.0
    assert bool(found[1].isnan())


def test_accuracy_is_the_share_of_right_answers() -> None:
    logits = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0], [5.0, 0.0, 0.0]]])
    assert accuracy(logits, torch.tensor([[0, 1, 2, 1]])).tolist() == [0.75]


def test_queries_after_step_k_are_normalised_by_the_set_of_that_step() -> None:
    """In training as in evaluation: step k's set serves its support before it and the query after it."""
    network, tasks = _conv(steps=2), _images()
    learner = Learner(network, "classification", sgd(constant(0.1)))
    meta = _meta(network)
    generator = torch.Generator().manual_seed(1)
    params = {
        name: leaf + torch.randn(leaf.shape, generator=generator, dtype=KIND) * (name in network.fixed)
        for name, leaf in meta.params.items()
    }
    outputs = learner.outputs(Meta(params, {}), tasks.support, tasks.query.inputs, 2)
    for steps in (0, 1, 2):
        found = learner.meta_loss(Meta(params, {}), tasks, steps, unrolled(), final())
        torch.testing.assert_close(found.outputs_after, outputs[steps])
    # By hand for the first step: set 0 on both sides of it.
    start = {name: leaf for name, leaf in params.items() if name not in network.fixed}

    def loss(phi: Params, part: Labelled, step: int) -> Tensor:
        return F.cross_entropy(network.apply({**params, **phi}, part.inputs, step, None)[0], part.targets)

    support = Labelled(tasks.support.inputs[0], tasks.support.targets[0])
    signal = torch.func.grad(loss)(start, support, 0)
    phi = {name: leaf - 0.1 * signal[name] for name, leaf in start.items()}
    expected = network.apply({**params, **phi}, tasks.query.inputs[0], 0, None)[0]
    torch.testing.assert_close(outputs[1][0], expected)
    assert not torch.allclose(outputs[1][0], network.apply({**params, **phi}, tasks.query.inputs[0], 1, None)[0])


def test_running_statistics_are_the_mean_over_tasks() -> None:
    network, tasks = _conv(running=True), _images(tasks=2)
    learner, meta = Learner(network, "classification", sgd(constant(0.1))), _meta(network)

    def seen(first: int, last: int) -> Params:
        part = TaskBatch(*(Labelled(*(leaf[first:last] for leaf in half)) for half in tasks[:2]), {})
        return learner.meta_loss(meta, part, 2, unrolled(), final()).statistics

    one, other, both = seen(0, 1), seen(1, 2), seen(0, 2)
    for name, leaf in both.items():
        torch.testing.assert_close(leaf, (one[name] + other[name]) / 2)
        assert not torch.allclose(one[name], other[name])


def test_adaptation_normalises_with_the_supports_own_statistics_and_queries_with_the_running_ones() -> None:
    network, tasks = _conv(running=True), _images()
    meta = _meta(network)
    meta = Meta(meta.params, {name: leaf + 0.5 for name, leaf in meta.statistics.items()})
    found = Learner(network, "classification", sgd(constant(0.1))).outputs(meta, *_halves(tasks), 1)
    start = {name: leaf for name, leaf in meta.params.items() if name not in network.fixed}

    def loss(phi: Params) -> Tensor:
        outputs = network.apply({**meta.params, **phi}, tasks.support.inputs[0], 0, None)[0]
        return F.cross_entropy(outputs, tasks.support.targets[0])

    signal = torch.func.grad(loss)(start)
    phi = {**meta.params, **{name: leaf - 0.1 * signal[name] for name, leaf in start.items()}}
    torch.testing.assert_close(found[1][0], network.apply(phi, tasks.query.inputs[0], 0, meta.statistics)[0])


def _halves(tasks: TaskBatch) -> tuple[Labelled, Tensor]:
    return tasks.support, tasks.query.inputs


def test_anil_with_all_parameters_is_maml_and_moves_the_head_alone() -> None:
    network, tasks = _tanh_mlp(), _sines()
    meta, rule = _meta(network), sgd(constant(RATE))
    named = Learner(network, "regression", rule, adapts=lambda name: name.startswith("layer"))
    head = Learner(network, "regression", rule, adapts=lambda name: name.startswith(network.head))
    whole = Learner(network, "regression", rule).meta_loss(meta, tasks, 2, unrolled(), final())
    found = named.meta_loss(meta, tasks, 2, unrolled(), final())
    for name, leaf in whole.gradient.items():
        torch.testing.assert_close(found.gradient[name], leaf, rtol=1e-12, atol=1e-14)
    assert list(head.adapted(meta.params)) == ["layer2.weight", "layer2.bias"]

    def value(params: Params) -> float:
        return float(head.meta_loss(Meta(params, {}), tasks, 2, unrolled(), final()).losses.mean())

    direction = {name: torch.cos(torch.arange(leaf.numel())).view_as(leaf) for name, leaf in meta.params.items()}
    gradient = head.meta_loss(meta, tasks, 2, unrolled(), final()).gradient
    slope = sum(float((gradient[name] * direction[name]).sum()) for name in gradient)
    assert slope == pytest.approx(_finite_difference(value, meta.params, direction), rel=1e-5)
    assert all(float(leaf.abs().sum()) > 0 for name, leaf in gradient.items() if name.endswith("weight"))


def test_meta_sgd_with_the_rates_it_starts_with_is_maml() -> None:
    network, tasks = _tanh_mlp(), _sines()
    meta = _meta(network)
    rates = initial_rates(meta.params, constant(RATE), 2, per_scalar=True)
    params = {**meta.params, **{RATES + name: rate for name, rate in rates.items()}}
    plain = Learner(network, "regression", sgd(constant(RATE))).meta_loss(meta, tasks, 2, unrolled(), final())
    learner = Learner(network, "regression", learned_rates(), learns_rates=True)
    found = learner.meta_loss(Meta(params, {}), tasks, 2, unrolled(), final())
    for name, leaf in plain.gradient.items():
        torch.testing.assert_close(found.gradient[name], leaf, rtol=1e-12, atol=1e-14)
        assert found.gradient[RATES + name].shape == (1, *leaf.shape)
        assert float(found.gradient[RATES + name].abs().sum()) > 0


def test_reptile_with_one_step_is_the_gradient_of_joint_training() -> None:
    network, tasks = _tanh_mlp(), _sines()
    meta = _meta(network)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in meta.params.items()}
    joint = torch.stack(
        [
            F.mse_loss(torch.func.functional_call(_Plain(), leaves, (inputs,)), targets)
            for inputs, targets in zip(tasks.support.inputs, tasks.support.targets, strict=True)
        ]
    ).mean()
    expected = dict(zip(leaves, torch.autograd.grad(joint, list(leaves.values())), strict=True))
    for chunk in (0, 3):
        found = Learner(network, "regression", sgd(constant(RATE))).displacement(meta, tasks, 1, chunk)
        for name, leaf in expected.items():
            torch.testing.assert_close(found.gradient[name], RATE * leaf, rtol=1e-10, atol=1e-13)


def test_reptile_moves_towards_the_mean_of_the_adapted_parameters() -> None:
    network, tasks = _tanh_mlp(), _sines()
    meta = _meta(network)
    total = {name: torch.zeros_like(leaf) for name, leaf in meta.params.items()}
    module = _Plain()
    for task in range(4):
        phi = {name: leaf.clone().requires_grad_() for name, leaf in meta.params.items()}
        for _ in range(3):
            outputs = torch.func.functional_call(module, phi, (tasks.support.inputs[task],))
            slopes = torch.autograd.grad(F.mse_loss(outputs, tasks.support.targets[task]), list(phi.values()))
            phi = {
                name: (leaf - RATE * slope).detach().requires_grad_()
                for (name, leaf), slope in zip(phi.items(), slopes, strict=True)
            }
        total = {name: leaf + phi[name].detach() / 4 for name, leaf in total.items()}
    found = Learner(network, "regression", sgd(constant(RATE))).displacement(meta, tasks, 3)
    for name, leaf in meta.params.items():
        torch.testing.assert_close(found.gradient[name], leaf - total[name], rtol=1e-10, atol=1e-13)
