"""On a CUDA device: the same numbers as on the CPU in float64, and no read-back inside conjugate gradient."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.core import conjugate_gradient, first_order, unrolled
from maml_rl.core.tree import flatten, place
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from maml_rl.supervised.networks import NetworkConfig
from maml_rl.supervised.task_distribution import DistributionConfig, Labelled, TaskBatch
from maml_rl.systems import maml, maml_trpo
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.maml_config import Config, HeldOutConfig, OuterConfig
from maml_rl.systems.registry import registered
from tests.rl import reference
from tests.rl.sampling.test_rollouts import CONFIGS, playing_in
from tests.systems.test_maml_trpo import NAVIGATION
from tests.systems.test_meta_policy import SMALL, VALUES

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def _problem(family: str, device: str, mode: Any, steps: int) -> tuple[MetaSurrogate, torch.Tensor]:
    """The same problem on a device, and its meta-parameters."""
    policy = reference.make_policy(family)
    params = reference.initial(policy)
    batches = reference.make_batches(family, policy, params, steps, ragged=True)
    here = torch.device(device)
    problem = reference.make_problem(policy, place(params, here), place(batches, here), mode, chunk=3)
    return problem, place(flatten(params), here)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("family", ["gaussian", "categorical"])
@pytest.mark.parametrize("mode", [unrolled(), first_order()], ids=lambda mode: mode.name)
def test_gradient_product_and_values_equal_the_cpus(family: str, mode: Any) -> None:
    results = []
    for device in ("cpu", "cuda"):
        problem, theta = _problem(family, device, mode, 3)
        local = problem.linearise(theta)
        results.append((local.gradient(), local.product(theta), *local.anchored.evaluate(theta * 1.01)))
    for cpu, cuda in zip(*results, strict=True):
        assert cuda.device.type == "cuda"
        torch.testing.assert_close(cuda.cpu(), cpu, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
@needs_gpu
def test_a_training_iteration_equals_the_cpus() -> None:
    results = []
    for device in ("cpu", "cuda"):
        system = maml_trpo.System(dataclasses.replace(NAVIGATION, device=device, precision="float64"))
        state, metrics = system.iterate(system.initial_state(), 0)
        meta = flatten(state["meta"])
        results.append((meta.cpu(), metrics))
        assert meta.device.type == device
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-6, atol=1e-8)
    for name in ("return_before", "return_after", "surrogate_after", "kl_after"):
        assert results[0][1][name] == pytest.approx(results[1][1][name], rel=1e-6, abs=1e-9)


RECURRENT = {"policy": RecurrentConfig(6, [5]), "tasks": 3, "precision": "float64",
             "environment": SMALL["environment"]}  # fmt: skip
TRAINED = {**{name: (system, {**SMALL, **values}) for name, (system, values) in VALUES.items()},
           "RL2": ("rl2", RECURRENT)}  # fmt: skip


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(("name", "values"), TRAINED.values(), ids=TRAINED)
def test_every_meta_learner_iterates_and_evaluates_as_on_the_cpu(name: str, values: dict[str, Any]) -> None:
    known, ends, returns = registered(name), [], []
    for device in ("cpu", "cuda"):
        system: Any = known.make(known.config(**values, device=device))
        state, _ = system.iterate(system.initial_state(), 0)
        state, _ = system.iterate(state, 1)
        ends.append(flatten(state["meta"]).cpu())
        on_cpu = place(state, torch.device("cpu"))  # as a checkpoint brings it
        returns.append(system.evaluate([on_cpu], system.Options(steps=1, tasks=2, episodes=2)).values)
        system.close()
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(returns[0], returns[1], rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@needs_gpu
def test_a_rollout_equals_the_cpus() -> None:
    results = []
    for device in ("cpu", "cuda"):
        playing = playing_in(CONFIGS["native"], torch.device(device))
        rollout, carry = playing.rollout(playing.start(), 20)
        assert rollout.observations.device.type == device
        results.append((rollout.actions.cpu(), rollout.rewards.cpu(), carry.memory.hidden.cpu()))
        playing.sampler.close()
    for cpu, cuda in zip(*results, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-9, atol=1e-11)


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
    "inner": InnerConfig(steps=2, learning_rate=0.1, learned_rates=True),
    "outer": OuterConfig(objective="annealed", final_learning_rate=1e-5),
    "network": NetworkConfig(id="conv4", filters=4, downsampling="max_pool", norm="running", norm_steps=2),
}
IMPLICIT: dict[str, Any] = {
    "inner": InnerConfig(steps=4, learning_rate=0.1, mode="implicit", proximal=2.0),
    "network": NetworkConfig(id="conv4", filters=4, adapt_norm=True),
}


def supervised(device: str, values: dict[str, Any]) -> Config:
    distribution, held_out = DistributionConfig("tests.gpu.test_cuda:Pictures"), HeldOutConfig(2, 5)
    sizes = {"tasks": 3, "support": 1, "query": 2, "epoch": 2, "report_every": 1, "iterations": 2, "torch_threads": 1}
    return Config(distribution=distribution, test=held_out, device=device, precision="float64", **sizes, **values)


@pytest.mark.parametrize("values", [PLUS_PLUS, IMPLICIT], ids=["maml++", "imaml"])
def test_the_supervised_configurations_run_where_there_is_no_gpu(values: dict[str, Any]) -> None:
    system = maml.System(supervised("cpu", values))
    state, _ = system.iterate(system.initial_state(), 0)
    assert bool(flatten(state["meta"]).isfinite().all())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("values", [PLUS_PLUS, IMPLICIT], ids=["maml++", "imaml"])
def test_supervised_training_and_evaluation_equal_the_cpus(values: dict[str, Any]) -> None:
    results = []
    for device in ("cpu", "cuda"):
        system = maml.System(supervised(device, values))
        state, metrics = system.iterate(system.initial_state(), 0)
        assert flatten(state["meta"]).device.type == device
        state, _ = system.iterate(state, 1)
        results.append(
            (metrics["meta_loss"], system.evaluate([state], system.Options(steps=3, seed=7, tasks=5)).values)
        )
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-9)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5, atol=1e-7)


@pytest.mark.gpu
@needs_gpu
def test_nothing_is_copied_to_the_host_inside_conjugate_gradient() -> None:
    problem, theta = _problem("gaussian", "cuda", unrolled(), 1)
    local = problem.linearise(theta)
    gradient = local.gradient()
    torch.cuda.set_sync_debug_mode("error")
    try:
        conjugate_gradient(local.product, gradient)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_conjugate_gradient_never_reads_a_value_back() -> None:
    # Tensors on the meta device have no values: reading one raises.
    b = torch.zeros(4, device="meta")
    solution = conjugate_gradient(lambda vector: 2 * vector, b)
    assert solution.x.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(solution.indefinite)
