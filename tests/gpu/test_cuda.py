"""On a CUDA device: the same numbers as on the CPU in float64, and no read-back inside conjugate gradient."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.core import conjugate_gradient, first_order, unrolled
from maml_rl.core.tree import flatten, map_tree
from maml_rl.supervised.networks import NetworkConfig
from maml_rl.supervised.task_distribution import DistributionConfig, Labelled, TaskBatch
from maml_rl.systems import SYSTEMS
from maml_rl.systems.maml import MAML
from maml_rl.systems.maml_config import Config, HeldOutConfig, InnerConfig, OuterConfig
from maml_rl.systems.maml_trpo import MAMLTRPO
from tests.rl import reference
from tests.systems.test_maml_trpo import NAVIGATION
from tests.systems.test_meta_policy import SMALL, VALUES

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
@pytest.mark.parametrize("mode", [unrolled(), first_order()], ids=lambda mode: mode.name)
def test_gradient_product_and_values_equal_the_cpus(kind: str, mode) -> None:
    policy = reference.make_policy(kind)
    params = reference.initial(policy)
    batches = reference.make_batches(kind, policy, params, 3, ragged=True)
    found = []
    for device in ("cpu", "cuda"):
        here = {name: leaf.to(device) for name, leaf in params.items()}
        there = [map_tree(lambda leaf, device=device: leaf.to(device), batch) for batch in batches]
        problem = reference.make_problem(policy, here, there, mode, chunk=3)
        theta = flatten(here)
        problem.linearise(theta)
        found.append((problem.gradient(), problem.product(theta), *problem.evaluate(theta * 1.01)))
    for cpu, cuda in zip(*found, strict=True):
        assert cuda.device.type == "cuda"
        torch.testing.assert_close(cuda.cpu(), cpu, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
@needs_gpu
def test_a_training_iteration_equals_the_cpus() -> None:
    results = []
    for device in ("cpu", "cuda"):
        system = MAMLTRPO(dataclasses.replace(NAVIGATION, device=device, precision="float64"))
        state, metrics = system.iterate(system.initial_state(), 0)
        results.append((flatten(state["params"]).cpu(), metrics))
        assert {leaf.device.type for leaf in state["params"].values()} == {device}
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-6, atol=1e-8)
    for name in ("return_before", "return_after", "surrogate_after", "kl_after"):
        assert results[0][1][name] == pytest.approx(results[1][1][name], rel=1e-6, abs=1e-9)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(("kind", "values"), VALUES.values(), ids=VALUES)
def test_every_meta_learner_iterates_as_on_the_cpu(kind: str, values: dict[str, Any]) -> None:
    config, constructor = SYSTEMS[kind]
    found = []
    for device in ("cpu", "cuda"):
        system = constructor(config(**{**SMALL, **values}, device=device))
        state, _ = system.iterate(system.initial_state(), 0)
        state, _ = system.iterate(state, 1)
        found.append(flatten(state["params"]).cpu())
        system.close()
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7)


class Pictures:
    """Two classes of noisy pictures a task."""

    problem, input_shape, outputs = "classification", (1, 16, 16), 2

    def sample(self, generator: np.random.Generator, tasks: int, support: int, query: int, split: str) -> TaskBatch:
        """`support` and `query` pictures of each class."""
        classes = generator.normal(size=(tasks, 2, 1, 1, 16, 16))

        def drawn(count: int) -> Labelled:
            pictures = classes + 0.1 * generator.normal(size=(tasks, 2, count, 1, 16, 16))
            labels = np.broadcast_to(np.arange(2)[None, :, None], (tasks, 2, count)).reshape(tasks, -1)
            return Labelled(torch.from_numpy(pictures.reshape(tasks, -1, 1, 16, 16)), torch.from_numpy(labels.copy()))

        return TaskBatch(drawn(support), drawn(query), {})


PLUS_PLUS: dict[str, Any] = {
    "inner": InnerConfig(steps=2, rate=0.1, learned_rates=True),
    "outer": OuterConfig(objective="annealed", final_rate=1e-5),
    "network": NetworkConfig(id="conv4", filters=4, downsampling="max_pool", norm="running", norm_steps=2),
}
IMPLICIT: dict[str, Any] = {
    "inner": InnerConfig(steps=4, rate=0.1, mode="implicit", proximal=2.0),
    "network": NetworkConfig(id="conv4", filters=4, adapt_norm=True),
}


def supervised(device: str, values: dict[str, Any]) -> Config:
    distribution, held_out = DistributionConfig("tests.gpu.test_cuda:Pictures"), HeldOutConfig(2, 5)
    sizes = {"tasks": 3, "support": 1, "query": 2, "epoch": 2, "report_every": 1, "iterations": 2, "torch_threads": 1}
    return Config(distribution=distribution, test=held_out, device=device, precision="float64", **sizes, **values)


@pytest.mark.parametrize("values", [PLUS_PLUS, IMPLICIT], ids=["maml++", "imaml"])
def test_the_supervised_configurations_run_where_there_is_no_gpu(values: dict[str, Any]) -> None:
    system = MAML(supervised("cpu", values))
    state, _ = system.iterate(system.initial_state(), 0)
    assert all(bool(leaf.isfinite().all()) for leaf in state["params"].values())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("values", [PLUS_PLUS, IMPLICIT], ids=["maml++", "imaml"])
def test_supervised_training_and_evaluation_equal_the_cpus(values: dict[str, Any]) -> None:
    found = []
    for device in ("cpu", "cuda"):
        system = MAML(supervised(device, values))
        state, metrics = system.iterate(system.initial_state(), 0)
        assert {leaf.device.type for leaf in state["params"].values()} == {device}
        state, _ = system.iterate(state, 1)
        outputs = system.evaluate([state], 3, 7, 5).outputs
        found.append((metrics["meta_loss"], torch.stack(outputs).cpu()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-7)


@pytest.mark.gpu
@needs_gpu
def test_nothing_is_copied_to_the_host_inside_conjugate_gradient() -> None:
    policy = reference.make_policy("gaussian")
    params = {name: leaf.cuda() for name, leaf in reference.initial(policy).items()}
    batches = reference.make_batches("gaussian", policy, reference.initial(policy), 1, ragged=True)
    batches = [map_tree(lambda leaf: leaf.cuda(), batch) for batch in batches]
    problem = reference.make_problem(policy, params, batches, unrolled(), chunk=3)
    problem.linearise(flatten(params))
    gradient = problem.gradient()
    torch.cuda.set_sync_debug_mode("error")
    try:
        conjugate_gradient(problem.product, gradient)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_conjugate_gradient_never_reads_a_value_back() -> None:
    # Tensors on the meta device have no values: reading one raises.
    b = torch.zeros(4, device="meta")
    solution = conjugate_gradient(lambda vector: 2 * vector, b)
    assert solution.x.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(solution.indefinite)
