"""On a CUDA device: the same numbers as on the CPU in float64, and no read-back inside conjugate gradient."""

import dataclasses

import pytest
import torch

from maml_rl.core import conjugate_gradient, final, first_order, listed, sgd, unrolled
from maml_rl.core.tree import flatten, map_tree
from maml_rl.rl.trpo import MetaProblem
from maml_rl.systems.maml_trpo import MAMLTRPO
from tests.rl import reference
from tests.systems.test_maml_trpo import NAVIGATION

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
        problem = MetaProblem(policy, here, there, sgd(listed(reference.RATES)), mode, final(), chunk=3)
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
def test_nothing_is_copied_to_the_host_inside_conjugate_gradient() -> None:
    policy = reference.make_policy("gaussian")
    params = {name: leaf.cuda() for name, leaf in reference.initial(policy).items()}
    batches = reference.make_batches("gaussian", policy, reference.initial(policy), 1, ragged=True)
    batches = [map_tree(lambda leaf: leaf.cuda(), batch) for batch in batches]
    problem = MetaProblem(policy, params, batches, sgd(listed(reference.RATES)), unrolled(), final(), chunk=3)
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
