#!/usr/bin/env python
"""Speed as ratios within one run: python scripts/benchmark.py [--device cuda] [--json FILE].

`half_cheetah` compares steps/s of 800 half-cheetahs on 2 threads: the raw `mujoco.rollout` loop, this project's vector
environment, Gymnasium's SyncVectorEnv of the single environment, Stable-Baselines3's interface to the vector
environment, and the whole sampler with a policy. All take the same actions, because the cost of a physics step depends
on the contacts. `environments` has the same ratios for every MuJoCo task. `meta_update` times the half-cheetah setting
of pytorch-maml-rl: 40 tasks x 20 episodes x 100 steps at two points, 64x64 tanh, 10 iterations of conjugate gradient.
`sinusoid` and `few_shot_images` are supervised: see supervised_speed.py. `lifetimes` compares meta-gradients of many
learners that never start afresh with hand-written loops: see lifetime_speed.py. `optimisers` has the cost of a learned
optimiser's step beside Adam's: see optimiser_speed.py. `children` trains by many update rules at once and one after the
other: see child_speed.py.
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
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for its neighbours, however this file was loaded

import child_speed
import lifetime_speed
import numpy as np
import optimiser_speed
import simulation_speed
import supervised_speed
import torch
from tqdm import tqdm

from maml_rl.core import TrustRegion, final, halved_after_first, sgd, trust_region, unrolled
from maml_rl.core.tree import flatten
from maml_rl.rl.collect import collect
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.estimation import EstimatorConfig
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate, weighted_surrogate
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
        repetitions: of each measurement; the median counts, of lifetimes the fastest.
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
    sizes = (options.device, options.threads, options.repetitions)
    sections: dict[str, Callable[[], dict[str, float]]] = {
        "half_cheetah": lambda: half_cheetah(options),
        "environments": lambda: environments(options),
        "meta_update": lambda: meta_update(options),
        "sinusoid": lambda: supervised_speed.sinusoid(*sizes),
        "few_shot_images": lambda: supervised_speed.few_shot_images(*sizes),
        "lifetimes": lambda: lifetime_speed.lifetimes(options.device, options.repetitions),
        "optimisers": lambda: optimiser_speed.optimisers(options.device, options.repetitions),
        "children": lambda: child_speed.children_speed(options.device, options.repetitions),
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
    ratios = {}
    for name in tqdm(simulation_speed.MUJOCO_TASKS, desc="environments", leave=False, disable=None):
        rates = simulation_speed.stepping(
            name, options.device, options.threads, options.repetitions, 10, 20, STEPS, others=False
        )
        for part in ("raw_rollout", "vector_env_per_raw", "sampler_per_raw"):
            ratios[f"{name}_{part}"] = rates[part]
    return ratios


def meta_update(options: Options) -> dict[str, float]:
    """Seconds of the parts of one meta-iteration, and peak memory of the process."""
    device = torch.device(options.device)
    config = EnvironmentConfig("envs:HalfCheetahVel-v0", {"horizon": STEPS}, {"num_threads": options.threads})
    sampler = Sampler(config, TASKS, EPISODES, device, torch.float32)
    policy, params = simulation_speed.policy_of(sampler)
    learner = PolicyLearner(policy, sgd(halved_after_first(0.1)), unrolled(), INNER_LOSSES["log_probability"])
    meta, chunk = {POLICY: params}, TASKS if device.type == "cuda" else OuterConfig().chunk
    optimiser, stopwatch = trust_region(TrustRegion()), _Stopwatch(device)
    for iteration in range(options.repetitions + 1):
        if iteration == 1:
            stopwatch.seconds.clear()  # the first one warms up
        tasks = sampler.stepper.draw_tasks(np.random.SeedSequence(iteration))
        began = time.perf_counter()
        seeds = partial(task_seeds, 0, 0, iteration, tasks=TASKS)
        collected = collect(sampler, learner, meta, tasks, seeds, 1, EstimatorConfig())
        _synchronise(device)
        problem = MetaSurrogate(learner, meta, collected.batches, final(), chunk)
        stopwatch("meta_step_s", partial(optimiser.update, meta, {}, problem, iteration))
        stopwatch.note("meta_iteration_s", time.perf_counter() - began)
        stopwatch.note("sampling_s", collected.sampling_s)
        stopwatch.note("adaptation_s", collected.adaptation_s)
        _time_parts(stopwatch, problem, flatten(meta))
        steps = sum(trajectories.steps for trajectories in collected.trajectories)
    sampler.close()
    medians = {name: statistics.median(values) for name, values in stopwatch.seconds.items()}
    return {
        **medians,
        "curvature_product_per_gradient": medians["curvature_product_s"] / medians["surrogate_gradient_s"],
        "env_steps": float(steps),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_device_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0,
    }


def _time_parts(stopwatch: "_Stopwatch", problem: MetaSurrogate, theta: torch.Tensor) -> None:
    """What a meta-update is made of. `surrogate_gradient_s` is the gradient on its own, forward and backward through
    adaptation, as an optimiser without curvature takes it.
    """
    local = stopwatch("linearise_s", partial(problem.linearise, theta))
    vector = stopwatch("gradient_from_linearisation_s", local.gradient)
    stopwatch("curvature_product_s", partial(local.product, vector))
    stopwatch("evaluation_s", partial(local.values, theta))
    stopwatch("surrogate_gradient_s", partial(local.anchored.descend, theta, weighted_surrogate))


class _Stopwatch:
    """Seconds of actions by name."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, name: str, action: Callable[[], Any]) -> Any:
        """Times an action and returns what it returns."""
        _synchronise(self._device)
        began = time.perf_counter()
        result = action()
        _synchronise(self._device)
        self.note(name, time.perf_counter() - began)
        return result

    def note(self, name: str, seconds: float) -> None:
        """Takes in what was timed elsewhere."""
        self.seconds.setdefault(name, []).append(seconds)


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
