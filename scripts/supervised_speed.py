"""The supervised sections of the benchmark: sinusoids against other ways to write MAML, Omniglot against its passes."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maml_rl.core.tree import expand
from maml_rl.core.types import Params
from maml_rl.supervised import omniglot
from maml_rl.supervised.images import FewShot, ImageClasses
from maml_rl.supervised.networks import NetworkConfig
from maml_rl.supervised.sinusoid import Sinusoid
from maml_rl.supervised.task_distribution import DistributionConfig, Split
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.maml import Config, System

__all__ = ["few_shot_images", "sinusoid"]

SINE_TASKS, SINE_ITERATIONS, IMAGE_TASKS = 25, 100, 32
INNER_RATE, OUTER_RATE = 0.01, 1e-3


def sinusoid(device: str, threads: int, repetitions: int) -> dict[str, float]:
    """Meta-iterations/s of second-order MAML on 25 sinusoids, 10 examples, one step, with drawing and Adam.

    `maml_rl` is this project's system; `hand_written` the same in `torch.func`, written for this one case;
    `loop_over_tasks` the usual `torch.autograd` loop, one task after the other.
    """
    system = System(Config(network=NetworkConfig(initial_std=0.01), device=device, torch_threads=threads))
    state = system.initial_state()

    def ours() -> None:
        nonlocal state
        for iteration in range(SINE_ITERATIONS):
            state, _ = system.iterate(state, iteration)

    ways = {"maml_rl": ours, "hand_written": _hand_written(device), "loop_over_tasks": _loop_over_tasks(device)}
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(repetitions + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            _synchronise(device)
            if repetition:  # the first one warms up
                measured[name].append(SINE_ITERATIONS / (time.perf_counter() - began))
    rates = {name: statistics.median(values) for name, values in measured.items()}
    return {
        **rates,
        "maml_rl_per_hand_written": rates["maml_rl"] / rates["hand_written"],
        "maml_rl_per_loop": rates["maml_rl"] / rates["loop_over_tasks"],
    }


def few_shot_images(device: str, threads: int, repetitions: int) -> dict[str, float]:
    """Seconds of one meta-iteration of 5-way 1-shot MAML on images as many and as large as Omniglot's, and its parts.

    The floor is the sum of the passes that second-order MAML cannot do without, each timed on its own: the inner
    gradient, the pass back through it, and loss and gradient of the query.
    """
    rng = np.random.default_rng(0)
    shape = (omniglot.CHARACTERS * omniglot.DRAWINGS, 28, 28, 1)
    pixels = rng.integers(0, 255, shape, dtype=np.uint8)
    names = [str(index) for index in range(omniglot.CHARACTERS)]
    images = ImageClasses(pixels, np.full(omniglot.CHARACTERS, omniglot.DRAWINGS), names)
    everything = np.arange(omniglot.CHARACTERS)
    splits: dict[Split, NDArray[np.int64]] = {"train": everything, "validation": everything, "test": everything}
    distribution = FewShot(images, splits, 5, ("train",))
    config = Config(
        distribution=DistributionConfig("supervised_speed:_given"),
        network=NetworkConfig(id="conv4"),
        inner=InnerConfig(learning_rate=2.0),
        tasks=IMAGE_TASKS,
        support=1,
        query=1,
        device=device,
        torch_threads=threads,
    )
    _GIVEN.append(distribution)
    system = System(config)
    state = system.initial_state()
    passes = _passes(system, state["meta"]["network"])
    parts: dict[str, list[float]] = {}
    for iteration in range(repetitions + 1):
        began = time.perf_counter()
        state, metrics = system.iterate(state, iteration)
        _synchronise(device)
        times = {"iteration_s": time.perf_counter() - began, "drawing_s": metrics["drawing_s"], **passes()}
        for name, value in times.items():
            if iteration:
                parts.setdefault(name, []).append(value)
    medians = {name: statistics.median(values) for name, values in parts.items()}
    floor = medians["inner_gradient_s"] + medians["back_through_it_s"] + medians["query_gradient_s"]
    return {
        **medians,
        "floor_s": floor,
        "iteration_per_floor": medians["iteration_s"] / floor,
        "drawing_share": medians["drawing_s"] / medians["iteration_s"],
    }


_GIVEN: list[FewShot] = []


def _given() -> FewShot:
    """The distribution that the benchmark made."""
    return _GIVEN[-1]


def _passes(system: System, params: Params) -> Callable[[], dict[str, float]]:
    """Times the passes of a meta-iteration one by one: the inner one from shared weights."""
    tasks = system.draw(0, 0, 0, IMAGE_TASKS, "train")
    shared = {name: leaf.detach().clone().requires_grad_() for name, leaf in params.items()}
    own = {name: leaf.contiguous().requires_grad_() for name, leaf in expand(params, IMAGE_TASKS).items()}

    def loss(params: Params, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(system.network.apply(params, inputs, 0, None)[0], targets)

    def run() -> dict[str, float]:
        _synchronise(system.config.device)
        began = time.perf_counter()
        gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(shared, *tasks.support)
        _synchronise(system.config.device)
        first = time.perf_counter()
        total = sum(leaf.sum() for leaf in gradient.values())
        torch.autograd.grad(total, list(shared.values()), allow_unused=True)
        _synchronise(system.config.device)
        second = time.perf_counter()
        values = torch.func.vmap(loss)(own, *tasks.query)
        torch.autograd.grad(values.sum(), list(own.values()))
        _synchronise(system.config.device)
        third = time.perf_counter()
        return {
            "inner_gradient_s": first - began,
            "back_through_it_s": second - first,
            "query_gradient_s": third - second,
        }

    return run


def _modules(device: str) -> nn.Sequential:
    module = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    return module.to(device)


def _drawn(generator: np.random.Generator, device: str) -> tuple[Tensor, ...]:
    batch = Sinusoid().sample(generator, SINE_TASKS, 10, 10, "train")
    return tuple(part.to(device, torch.float32) for half in (batch.support, batch.query) for part in half)


def _hand_written(device: str) -> Callable[[], None]:
    """As one would write it in torch.func for this network alone."""
    named = dict(_modules(device).named_parameters())
    params = {name: leaf.detach().clone().requires_grad_() for name, leaf in named.items()}
    optimiser = torch.optim.Adam(list(params.values()), lr=OUTER_RATE)
    generator = np.random.default_rng(0)

    def predict(p: Params, x: Tensor) -> Tensor:
        x = torch.relu(F.linear(x, p["0.weight"], p["0.bias"]))
        x = torch.relu(F.linear(x, p["2.weight"], p["2.bias"]))
        return F.linear(x, p["4.weight"], p["4.bias"])

    def loss(p: Params, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(predict(p, x), y)

    def task(p: Params, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
        gradient = torch.func.grad(loss)(p, xs, ys)
        return loss({name: leaf - INNER_RATE * gradient[name] for name, leaf in p.items()}, xq, yq)

    def meta(p: Params, *data: Tensor) -> Tensor:
        return torch.func.vmap(task, in_dims=(None, 0, 0, 0, 0))(p, *data).mean()

    def run() -> None:
        for _ in range(SINE_ITERATIONS):
            # Detached: with leaves that require gradients autograd would record a graph of its own beside torch.func's.
            current = {name: leaf.detach() for name, leaf in params.items()}
            gradient, value = torch.func.grad_and_value(meta)(current, *_drawn(generator, device))
            for name, leaf in params.items():
                leaf.grad = gradient[name]
            optimiser.step()
            float(value)

    return run


def _loop_over_tasks(device: str) -> Callable[[], None]:
    """The usual way: one task after the other, with a graph of the inner gradient."""
    module = _modules(device)
    optimiser = torch.optim.Adam(module.parameters(), lr=OUTER_RATE)
    generator = np.random.default_rng(0)

    def run() -> None:
        for _ in range(SINE_ITERATIONS):
            optimiser.zero_grad()
            theta: Params = dict(module.named_parameters())
            total = torch.zeros((), device=device)
            for xs, ys, xq, yq in zip(*_drawn(generator, device), strict=True):
                value = F.mse_loss(torch.func.functional_call(module, theta, (xs,)), ys)
                gradients = torch.autograd.grad(value, list(theta.values()), create_graph=True)
                phi = {name: leaf - INNER_RATE * g for (name, leaf), g in zip(theta.items(), gradients, strict=True)}
                total = total + F.mse_loss(torch.func.functional_call(module, phi, (xq,)), yq)
            torch.autograd.backward(total / SINE_TASKS)
            optimiser.step()
            float(total.detach())

    return run


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
