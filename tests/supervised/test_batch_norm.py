"""Normalisation inside adaptation: whose statistics, which step's set, and what is kept of them."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_rl.core import adapt, constant, final, sgd, unrolled
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Params
from maml_rl.supervised.networks import Network
from maml_rl.supervised.task_distribution import Labelled, TaskBatch
from tests.supervised.problems import DTYPE, classifier, conv, images, start


def test_queries_depend_on_each_other_in_the_transductive_mode_only() -> None:
    tasks = images()
    others = tasks.query.inputs.clone()
    others[:, 1:] += 1.0
    for running in (False, True):
        network = conv(running=running)
        learner = classifier(network, sgd(constant(0.1)))
        first, second = (
            learner.outputs(*start(network), tasks.support, inputs, 2)[-1][:, 0]
            for inputs in (tasks.query.inputs, others)
        )
        if running:
            torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)
        else:
            assert float((first - second).abs().max()) > 1e-3


def test_running_statistics_matter_in_the_running_mode_only_and_by_their_own_step() -> None:
    network, tasks = conv(running=True, steps=2), images()
    learner = classifier(network, sgd(constant(0.1)))
    meta, statistics = start(network)
    learned = learner.meta_loss(meta, statistics, tasks, 2, unrolled(), final())
    assert all(not torch.equal(leaf, statistics[name]) for name, leaf in learned.statistics.items())
    # Training normalises with the batch's own: the gradient does not see the running ones.
    moved = {name: leaf + 0.5 for name, leaf in statistics.items()}
    for name, leaf in learner.meta_loss(meta, moved, tasks, 2, unrolled(), final()).gradient["network"].items():
        assert torch.equal(leaf, learned.gradient["network"][name])
    plain, shifted = (learner.outputs(meta, each, tasks.support, tasks.query.inputs, 2) for each in (statistics, moved))
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(plain, shifted, strict=True))
    second = {name: torch.stack([leaf[0], leaf[1] + 0.5]) for name, leaf in statistics.items()}
    partly = learner.outputs(meta, second, tasks.support, tasks.query.inputs, 2)
    assert torch.equal(partly[0], plain[0])
    assert torch.equal(partly[1], plain[1])
    assert not torch.equal(partly[2], plain[2])


def test_running_statistics_of_the_first_step_are_those_of_torch() -> None:
    network, tasks = conv(running=True), images(tasks=1)
    meta, statistics = start(network)
    learner = classifier(network, sgd(constant(0.0)))
    result = learner.meta_loss(meta, statistics, tasks, 1, unrolled(), final()).statistics
    layer = nn.BatchNorm2d(4, dtype=DTYPE)
    weight, bias = meta["network"]["block0.weight"], meta["network"]["block0.bias"]
    layer(F.conv2d(tasks.query.inputs[0], weight, bias, stride=2, padding=1))
    torch.testing.assert_close(result["block0.norm.mean"][0], layer.running_mean)
    torch.testing.assert_close(result["block0.norm.var"][0], layer.running_var)


def test_running_statistics_are_the_mean_over_tasks() -> None:
    network, tasks = conv(running=True), images(tasks=2)
    learner = classifier(network, sgd(constant(0.1)))

    def after(first: int, last: int) -> Params:
        part = TaskBatch(*(Labelled(*(leaf[first:last] for leaf in half)) for half in tasks[:2]), {})
        return learner.meta_loss(*start(network), part, 2, unrolled(), final()).statistics

    one, other, both = after(0, 1), after(1, 2), after(0, 2)
    for name, leaf in both.items():
        torch.testing.assert_close(leaf, (one[name] + other[name]) / 2)
        assert not torch.allclose(one[name], other[name])


def test_each_inner_step_reports_the_statistics_of_its_support() -> None:
    network, tasks = conv(running=True), images()
    learner, meta = classifier(network, sgd(constant(0.1))), start(network)[0]
    support = Labelled(tasks.support.inputs[0], tasks.support.targets[0])
    path = adapt(learner.adapted(meta["network"]), [support] * 2, learner.loss, learner.rule, meta)
    for before, after in itertools.pairwise(path):
        outputs, statistics = network.apply({**meta["network"], **before.params}, support.inputs, 0, None)
        torch.testing.assert_close(after.aux.outputs, outputs)
        map_tree(torch.testing.assert_close, after.aux.statistics, statistics)


def _adapted(network: Network, params: Params, support: Labelled) -> Params:
    """All parameters after one step of rate 0.1 on the first task's support, with set 0."""
    start = {name: leaf for name, leaf in params.items() if name not in network.fixed}

    def loss(phi: Params) -> Tensor:
        outputs = network.apply({**params, **phi}, support.inputs[0], 0, None)[0]
        return F.cross_entropy(outputs, support.targets[0])

    signal = torch.func.grad(loss)(start)
    return {**params, **{name: leaf - 0.1 * signal[name] for name, leaf in start.items()}}


def test_queries_after_step_k_are_normalised_by_the_set_of_that_step() -> None:
    """In training as in evaluation: step k's set serves its support before it and the query after it."""
    network, tasks = conv(steps=2), images()
    learner = classifier(network, sgd(constant(0.1)))
    generator = torch.Generator().manual_seed(1)
    params = {
        name: leaf + torch.randn(leaf.shape, generator=generator, dtype=DTYPE) * (name in network.fixed)
        for name, leaf in start(network)[0]["network"].items()
    }
    meta = {"network": params}
    outputs = learner.outputs(meta, {}, tasks.support, tasks.query.inputs, 2)
    for steps in (0, 1, 2):
        result = learner.meta_loss(meta, {}, tasks, steps, unrolled(), final())
        torch.testing.assert_close(result.outputs_after, outputs[steps])
    # By hand for the first step: set 0 on both sides of it.
    phi = _adapted(network, params, tasks.support)
    torch.testing.assert_close(outputs[1][0], network.apply(phi, tasks.query.inputs[0], 0, None)[0])
    assert not torch.allclose(outputs[1][0], network.apply(phi, tasks.query.inputs[0], 1, None)[0])


def test_adaptation_normalises_with_the_supports_own_statistics_and_queries_with_the_running_ones() -> None:
    network, tasks = conv(running=True), images()
    meta, statistics = start(network)
    statistics = {name: leaf + 0.5 for name, leaf in statistics.items()}
    learner = classifier(network, sgd(constant(0.1)))
    outputs = learner.outputs(meta, statistics, tasks.support, tasks.query.inputs, 1)
    phi = _adapted(network, meta["network"], tasks.support)
    torch.testing.assert_close(outputs[1][0], network.apply(phi, tasks.query.inputs[0], 0, statistics)[0])
