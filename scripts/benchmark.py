#!/usr/bin/env python
"""Speed as ratios within one run: python scripts/benchmark.py [--device cuda] [--json FILE].

`half_cheetah` compares steps/s of 800 half-cheetahs on 2 threads: the raw `mujoco.rollout` loop, this project's vector
environment, Gymnasium's SyncVectorEnv of the single environment, Stable-Baselines3's interface to the vector
environment, and the whole sampler with a policy. All take the same actions, because the cost of a physics step depends
on the contacts. `environments` has the same ratios for every MuJoCo task. `meta_update` times the half-cheetah setting
of pytorch-maml-rl: 40 tasks x 20 episodes x 100 steps at two points, 64x64 tanh, 10 iterations of conjugate gradient.
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

import numpy as np
import simulation_speed
import supervised_speed
import torch
from tqdm import tqdm

from maml_rl.core.modes import unrolled
from maml_rl.core.objectives import final
from maml_rl.core.rules import halved_after_first, sgd
from maml_rl.core.tree import flatten
from maml_rl.core.trust_region import TrustRegion
from maml_rl.rl.collect import EstimatorConfig, collect
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.losses import INNER_LOSSES, surrogate
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.sampler import Sampler, task_seeds
from maml_rl.rl.updates.meta_surrogate import MetaProblem
from maml_rl.rl.updates.trpo import meta_step
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
        "environments": lambda: environments(options),
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
    return simulation_speed.stepping(
        "HalfCheetahVel", options.device, options.threads, options.repetitions, TASKS, EPISODES, STEPS, others=True
    )


def environments(options: Options) -> dict[str, float]:
    """Ratios of vector environment and sampler to the raw simulator, for every MuJoCo task: 10 tasks x 20 episodes."""
    found = {}
    for name in tqdm(simulation_speed.MUJOCO_TASKS, desc="environments", leave=False, disable=None):
        rates = simulation_speed.stepping(
            name, options.device, options.threads, options.repetitions, 10, 20, STEPS, others=False
        )
        for part in ("raw_rollout", "vector_env_per_raw", "sampler_per_raw"):
            found[f"{name}_{part}"] = rates[part]
    return found


def meta_update(options: Options) -> dict[str, float]:
    """Seconds of the parts of one meta-iteration, and peak memory of the process."""
    device = torch.device(options.device)
    config = EnvironmentConfig("envs:HalfCheetahVel-v0", {"horizon": STEPS}, {"num_threads": options.threads})
    sampler = Sampler(config, TASKS, EPISODES, device, torch.float32)
    policy, params = simulation_speed.policy_of(sampler)
    learner = PolicyLearner(policy, sgd(halved_after_first(0.1)), unrolled(), INNER_LOSSES["log_probability"])
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
            learner,
            params,
            tasks,
            lambda k, i=iteration: task_seeds(0, 0, i, k, TASKS),
            1,
            EstimatorConfig(),
        )
        _synchronise(device)
        parts.setdefault("sampling_s", []).append(collected.sampling_s)
        parts.setdefault("adaptation_s", []).append(collected.adaptation_s)
        problem = MetaProblem(learner, params, collected.batches, final(), chunk)
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
