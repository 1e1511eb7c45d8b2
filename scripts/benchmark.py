#!/usr/bin/env python
"""Speed as ratios within one run: python scripts/benchmark.py [--device cuda] [--json FILE].

`half_cheetah` compares steps/s of 800 half-cheetahs on 2 threads: the raw `mujoco.rollout` loop, this project's vector
environment, Gymnasium's SyncVectorEnv of the single environment, and the whole sampler with a policy. All take the same
actions, because the cost of a physics step depends on the contacts. `meta_update` times the half-cheetah setting of
pytorch-maml-rl: 40 tasks x 20 episodes x 100 steps at two points, 64x64 tanh, 10 iterations of conjugate gradient.
`sinusoid` and `few_shot_images` are supervised: see supervised_speed.py.
"""

import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for its neighbour, however this file was loaded

import gymnasium as gym
import mujoco.rollout
import numpy as np
import supervised_speed
import torch
from tqdm import tqdm

from maml_rl.core.modes import unrolled
from maml_rl.core.objectives import final
from maml_rl.core.rules import halved_after_first, sgd
from maml_rl.core.tree import expand, flatten
from maml_rl.core.trust_region import TrustRegion
from maml_rl.rl.collect import EstimatorConfig, collect
from maml_rl.rl.losses import surrogate
from maml_rl.rl.policies import gaussian_mlp
from maml_rl.rl.sampler import Sampler, task_seeds
from maml_rl.rl.trpo import MetaProblem, meta_step
from maml_rl.rl.vector import EnvironmentConfig
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.folder import versions
from maml_rl.systems.maml_trpo import OuterConfig
from maml_rl.systems.settings import device_of

TASKS, EPISODES, STEPS = 40, 20, 100
COUNT = TASKS * EPISODES


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        device: of the learner; the simulation runs on the CPU.
        threads: of the simulation and of the learner's arithmetic.
        repetitions: of each measurement; the median counts.
        json: a file for the figures.
        sections: which ones, in this order; all where nothing is given.
    """

    device: str = "cpu"
    threads: int = 2
    repetitions: int = 5
    json: str | None = None
    sections: list[str] | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "repetitions"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the file."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    try:
        device_of(options.device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    torch.set_num_threads(options.threads)
    about = (options.device, options.threads, options.repetitions)
    sections: dict[str, Callable[[], dict[str, float]]] = {
        "half_cheetah": lambda: half_cheetah(options),
        "meta_update": lambda: meta_update(options),
        "sinusoid": lambda: supervised_speed.sinusoid(*about),
        "few_shot_images": lambda: supervised_speed.few_shot_images(*about),
    }
    wanted = options.sections or list(sections)
    unknown = sorted(set(wanted) - sections.keys())
    if unknown:
        raise UsageError(f"there is no section {unknown[0]!r}; there are {', '.join(sections)}.")
    result: dict[str, Any] = {"machine": _machine(options), "versions": versions()}
    for name in tqdm(wanted, desc="benchmark", leave=False):
        result[name] = sections[name]()
    print(_table(result))
    if options.json:
        try:
            Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise RunFault(f"{options.json} could not be written: {error.strerror}.") from error
    return 0


def half_cheetah(options: Options) -> dict[str, float]:
    """Steps/s of each way to step 800 half-cheetahs, and the ratios to the raw simulator."""
    config = EnvironmentConfig("envs:HalfCheetahVel-v0", {"horizon": STEPS}, {"num_threads": options.threads})
    sampler = Sampler(config, TASKS, EPISODES, torch.device(options.device), torch.float32)
    policy, params = _policy(sampler)
    tasks = sampler.sample_tasks(np.random.SeedSequence(0))
    seeds = task_seeds(0, 0, 0, 0, TASKS)
    each = [task for task in tasks for _ in range(EPISODES)]
    sample = lambda: sampler.sample(policy, expand(params, TASKS), tasks, seeds)  # noqa: E731
    actions = sample().actions.movedim(2, 0).reshape(STEPS, COUNT, -1).cpu().numpy().astype(float)
    native: Any = gym.make_vec(config.id, num_envs=COUNT, horizon=STEPS, num_threads=options.threads)
    raw = _raw_loop(native, actions)
    few = COUNT // 8  # SyncVectorEnv's cost is linear in its environments
    sync: Any = gym.make_vec(config.id, num_envs=few, vectorization_mode="sync", horizon=STEPS)

    def step_all(envs: Any, chosen: np.ndarray, tasks: Sequence[Any] | None) -> Callable[[], float]:
        def run() -> float:
            envs.reset(seed=0, options={"tasks": tasks} if tasks is not None else None)
            began = time.perf_counter()
            for action in chosen:
                envs.step(action)
            return chosen.shape[0] * chosen.shape[1] / (time.perf_counter() - began)

        return run

    def whole_sampler() -> float:
        began = time.perf_counter()
        sample()
        return COUNT * STEPS / (time.perf_counter() - began)

    rates = _interleaved(
        {
            "raw_rollout": raw,
            "vector_env": step_all(native, actions, each),
            "sync_vector_env": step_all(sync, actions[:, :few], None),
            "sampler": whole_sampler,
        },
        options.repetitions,
    )
    for envs in (native, sync, sampler):
        envs.close()
    return {
        **rates,
        "vector_env_per_raw": rates["vector_env"] / rates["raw_rollout"],
        "vector_env_per_sync": rates["vector_env"] / rates["sync_vector_env"],
        "sampler_per_raw": rates["sampler"] / rates["raw_rollout"],
    }


def meta_update(options: Options) -> dict[str, float]:
    """Seconds of the parts of one meta-iteration, and peak memory of the process."""
    device = torch.device(options.device)
    config = EnvironmentConfig("envs:HalfCheetahVel-v0", {"horizon": STEPS}, {"num_threads": options.threads})
    sampler = Sampler(config, TASKS, EPISODES, device, torch.float32)
    policy, params = _policy(sampler)
    rule, mode, objective = sgd(halved_after_first(0.1)), unrolled(), final()
    chunk = TASKS if device.type == "cuda" else OuterConfig().chunk
    settings = TrustRegion()
    parts: dict[str, list[float]] = {}
    theta = flatten(params)

    def timed(name: str, action: Callable[[], Any]) -> Any:
        _synchronise(device)
        began = time.perf_counter()
        result = action()
        _synchronise(device)
        parts.setdefault(name, []).append(time.perf_counter() - began)
        return result

    for iteration in range(options.repetitions + 1):
        if iteration == 1:
            parts.clear()  # the first one warms up
        tasks = sampler.sample_tasks(np.random.SeedSequence(iteration))
        began = time.perf_counter()
        collected = collect(
            sampler,
            policy,
            params,
            tasks,
            lambda k, i=iteration: task_seeds(0, 0, i, k, TASKS),
            rule,
            1,
            EstimatorConfig(),
        )
        _synchronise(device)
        parts.setdefault("sampling_s", []).append(collected.sampling_s)
        parts.setdefault("adaptation_s", []).append(collected.adaptation_s)
        problem = MetaProblem(policy, params, collected.batches, rule, mode, objective, chunk)
        timed("meta_step_s", lambda problem=problem: meta_step(problem, params, settings))
        parts.setdefault("meta_iteration_s", []).append(time.perf_counter() - began)
        timed("linearise_s", lambda problem=problem: problem.linearise(theta))
        vector = timed("gradient_from_linearisation_s", problem.gradient)
        timed("curvature_product_s", lambda problem=problem, vector=vector: problem.product(vector))
        timed("evaluation_s", lambda problem=problem: problem.evaluate(theta))
        timed("surrogate_gradient_s", lambda problem=problem: _surrogate_gradient(problem, theta))
        steps = sum(trajectories.steps for trajectories in collected.trajectories)
    sampler.close()
    medians = {name: statistics.median(values) for name, values in parts.items()}
    return {
        **medians,
        "curvature_product_per_gradient": medians["curvature_product_s"] / medians["surrogate_gradient_s"],
        "env_steps": float(steps),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_device_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0,
    }


def _surrogate_gradient(problem: MetaProblem, theta: torch.Tensor) -> torch.Tensor:
    """The gradient on its own, forward and backward through adaptation, as an optimiser without curvature takes it."""
    theta = theta.clone().requires_grad_()
    for chunk in problem._chunks:
        (target,) = chunk.targets
        (acts,) = problem._distributions(problem._adapted_tensors(chunk.batches, theta))
        (target.weight * surrogate(acts, target.old_log_probs, target.batch).sum()).backward()
    assert theta.grad is not None
    return theta.grad


def _raw_loop(native: Any, actions: np.ndarray) -> Callable[[], float]:
    """`mujoco.rollout` alone: no observations, no rewards, no checks."""
    simulator = native.simulator
    model, skip = simulator.model, simulator.frame_skip
    data = [mujoco.MjData(model) for _ in simulator._data]
    native.reset(seed=0)
    start = native._states.copy()
    controls = np.repeat(np.clip(actions, -1, 1)[:, :, None], skip, axis=2)
    states, sensors = np.empty((COUNT, skip, start.shape[1])), np.empty((COUNT, skip, model.nsensordata))
    pool: Any = mujoco.rollout.Rollout(nthread=len(data) if len(data) > 1 else 0)
    models = [model] * COUNT

    def run() -> float:
        state = start.copy()
        began = time.perf_counter()
        for control in controls:
            pool.rollout(models, data, state, control, nstep=skip, state=states, sensordata=sensors, skip_checks=True)
            state = states[:, -1].copy()
        return COUNT * STEPS / (time.perf_counter() - began)

    return run


def _interleaved(measurements: dict[str, Callable[[], float]], repetitions: int) -> dict[str, float]:
    """Medians; one of each in turn, so that a slow minute of the machine meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in measurements}
    threads = torch.get_num_threads()
    for repetition in range(repetitions + 1):
        for name, measure in measurements.items():
            torch.set_num_threads(threads if name == "sampler" else 1)
            value = measure()
            if repetition:  # the first one warms up
                found[name].append(value)
    torch.set_num_threads(threads)
    return {name: statistics.median(values) for name, values in found.items()}


def _policy(sampler: Sampler) -> tuple[Any, dict[str, torch.Tensor]]:
    policy = gaussian_mlp(17, 6, (64, 64), "tanh")
    params = policy.initial(torch.Generator().manual_seed(0), torch.float32)
    return policy, {name: leaf.to(sampler.device) for name, leaf in params.items()}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _machine(options: Options) -> dict[str, Any]:
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return {"processor": name, "cores": os.cpu_count(), "device": options.device, "threads": options.threads}


def _table(result: dict[str, Any]) -> str:
    lines = [", ".join(f"{key} {value}" for key, value in result["machine"].items())]
    for section in [name for name in result if name not in ("machine", "versions")]:
        lines.append(section)
        lines += [f"  {name:34s} {value:14,.3f}" for name, value in result[section].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(exit_code(main))
