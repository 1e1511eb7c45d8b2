"""The simulation sections of the benchmark: raw `mujoco.rollout`, vector environments, the sampler, SB3's interface."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import mujoco.rollout
import numpy as np
import torch
from tqdm import tqdm

from maml_rl.core.tree import expand, place
from maml_rl.core.types import Params
from maml_rl.rl.environments.vector import EnvironmentConfig, make_vector
from maml_rl.rl.policies import Policy, PolicyConfig, policy_for
from maml_rl.rl.sampling.actors import memoryless
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from maml_rl.rl.sampling.trajectories import Trajectories

__all__ = ["MUJOCO_TASKS", "policy_of", "stepping"]

MUJOCO_TASKS = (
    "HalfCheetahVel",
    "HalfCheetahDir",
    "AntVel",
    "AntDir",
    "AntGoal",
    "Walker2dRandParams",
    "HopperRandParams",
)


def stepping(
    name: str, device: str, threads: int, repetitions: int, tasks: int, episodes: int, steps: int, others: bool
) -> dict[str, float]:
    """Steps/s of each way to step `tasks` x `episodes` environments, and ratios to the raw simulator: medians.

    A ratio is taken within each repetition, so that a slow minute of the machine leaves it as it is.

    All take the same actions with the same models, because the cost of a physics step depends on them; the raw loop
    steps from the very states that the vector environment came through, so that it has the same falls and restarts.

    Args:
        name: of the environment, without package and version.
        device: of the policy.
        threads: of the simulation.
        repetitions: the median counts.
        tasks: how many.
        episodes: of each task.
        steps: of each episode.
        others: whether Gymnasium's SyncVectorEnv and Stable-Baselines3's interface are measured too.
    """
    count = tasks * episodes
    config = EnvironmentConfig(f"envs:{name}-v0", {"horizon": steps}, vector_arguments={"num_threads": threads})
    sampler = Sampler(config, tasks, episodes, torch.device(device), torch.float32)
    policy, params = policy_of(sampler)
    drawn = sampler.stepper.draw_tasks(np.random.SeedSequence(0))
    seeds = task_seeds(0, 0, 0, 0, tasks)
    each = [task for task in drawn for _ in range(episodes)]

    def sample() -> Trajectories:
        return sampler.sample(memoryless(policy), expand(params, tasks), drawn, seeds)[0]

    actions = sample().actions.movedim(2, 0)
    chosen = actions.reshape(len(actions), count, -1).cpu().numpy().astype(float)
    length = len(chosen)
    native: Any = gym.make_vec(config.id, num_envs=count, horizon=steps, num_threads=threads)

    def whole_sampler() -> float:
        began = time.perf_counter()
        sample()
        return count * length / (time.perf_counter() - began)

    ways = {
        "raw_rollout": _raw_loop(native, chosen, each, threads),
        "vector_env": lambda: _step_all(native, chosen, each),
        "sampler": whole_sampler,
    }
    closed: list[Any] = [native, sampler]
    if others:
        few = max(1, count // 8)  # SyncVectorEnv's cost is linear in its environments
        sync: Any = gym.make_vec(config.id, num_envs=few, vectorization_mode="sync", horizon=steps)
        ways["sync_vector_env"] = lambda: _step_all(sync, chosen[:, :few], None)
        theirs = _stable_baselines(config, count, each)
        ways["sb3_vec_env"] = lambda: _step_sb3(theirs, chosen)
        closed += [sync, theirs]
    rates = _interleaved(ways, repetitions)
    for envs in closed:
        envs.close()
    raw = rates["raw_rollout"]
    ratios = {
        f"{way}_per_raw": statistics.median(rate / floor for rate, floor in zip(measured, raw, strict=True))
        for way, measured in rates.items()
        if way != "raw_rollout"
    }
    return {**{way: statistics.median(measured) for way, measured in rates.items()}, **ratios}


def policy_of(sampler: Sampler) -> tuple[Policy, Params]:
    """A policy of two layers of 64 units with tanh, as pytorch-maml-rl has it, for the sampler's environment."""
    config = PolicyConfig(hidden=[64, 64], activation="tanh")
    envs = sampler.stepper.envs
    policy = policy_for(config, envs.single_observation_space, envs.single_action_space)
    return policy, place(policy.initial(torch.Generator().manual_seed(0), torch.float32), sampler.device)


def _interleaved(measurements: dict[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """The values of each measurement, one of each in turn."""
    values: dict[str, list[float]] = {name: [] for name in measurements}
    threads = torch.get_num_threads()
    for repetition in tqdm(range(repetitions + 1), leave=False, disable=None):
        for name, measure in measurements.items():
            torch.set_num_threads(threads if name == "sampler" else 1)
            value = measure()
            if repetition:  # the first one warms up
                values[name].append(value)
    torch.set_num_threads(threads)
    return values


def _step_all(envs: Any, chosen: np.ndarray, tasks: Sequence[Any] | None) -> float:
    """Steps/s, starting episodes that end again."""
    envs.reset(seed=0, options={"tasks": tasks} if tasks is not None else None)
    began = time.perf_counter()
    for action in chosen:
        *_, terminated, truncated, _ = envs.step(action)
        if (terminated | truncated).any():
            envs.reset(options={"reset_mask": terminated | truncated})
    return chosen.shape[0] * chosen.shape[1] / (time.perf_counter() - began)


def _stable_baselines(config: EnvironmentConfig, count: int, tasks: Sequence[Any]) -> Any:
    from maml_rl.sb3.vec_env import TaskVecEnv

    return TaskVecEnv(make_vector(config, count), tasks)


def _step_sb3(envs: Any, chosen: np.ndarray) -> float:
    envs.reset()
    began = time.perf_counter()
    for action in chosen:
        envs.step(action)
    return chosen.shape[0] * chosen.shape[1] / (time.perf_counter() - began)


class _Recorded:
    """A simulator that remembers the states it is handed."""

    def __init__(self, simulator: Any, size: int) -> None:
        self.initial, self._simulator, self._size = simulator.initial, simulator, size
        self.states: list[np.ndarray] = []

    def advance(self, states: np.ndarray, controls: np.ndarray) -> np.ndarray:
        self.states.append(states[:, : self._size].copy())
        return self._simulator.advance(states, controls)


def _visited(native: Any, chosen: np.ndarray, tasks: Sequence[Any], size: int) -> list[np.ndarray]:
    """The physical states before each step of `_step_all`."""
    native.reset(seed=0, options={"tasks": tasks})
    simulator = native.simulator
    native.simulator = recorded = _Recorded(simulator, size)
    for action in chosen:
        *_, terminated, truncated, _ = native.step(action)
        if (terminated | truncated).any():
            native.reset(options={"reset_mask": terminated | truncated})
    native.simulator = simulator
    return recorded.states


def _raw_loop(native: Any, chosen: np.ndarray, tasks: Sequence[Any], threads: int) -> Callable[[], float]:
    """`mujoco.rollout` alone, with its own choice of chunks: no observations, no rewards, no checks."""
    simulator, count = native.simulator, chosen.shape[1]
    model, skip = simulator.model, simulator.frame_skip
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    visited = _visited(native, chosen, tasks, size)
    models, data = simulator.models(count), [mujoco.MjData(model) for _ in range(threads)]
    controls = np.repeat(np.clip(chosen, -1, 1)[:, :, None], skip, axis=2)
    states, sensors = np.empty((count, skip, size)), np.empty((count, skip, model.nsensordata))
    pool: Any = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)

    def run() -> float:
        began = time.perf_counter()
        for state, control in zip(visited, controls, strict=True):
            pool.rollout(models, data, state, control, nstep=skip, state=states, sensordata=sensors, skip_checks=True)
            states[:, -1].copy()
        return count * len(controls) / (time.perf_counter() - began)

    return run
