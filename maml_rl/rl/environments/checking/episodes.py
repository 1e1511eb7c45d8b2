"""Checks of single episodes: what reset and step return, repeatability, Gymnasium's own checker, and rendering."""

import json
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

from maml_rl.rl.environments.checking.finding import SEED, CannotGoOn, Finding, one_line
from maml_rl.rl.environments.checking.tasks import sampled_tasks
from maml_rl.rl.environments.task_env import Task, task_env_of
from maml_rl.rl.environments.vector import EnvironmentConfig, make_single

__all__ = ["Step", "check_episodes", "check_rendering", "check_with_gymnasium", "play", "random_action"]

_STEPS = 25


class Step(NamedTuple):
    """What one step returned."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool


def check_episodes(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """Episodes repeat with task, seed and actions, and depend on the task."""
    tasks = sampled_tasks(env, SEED)
    played = [play(env, task) for task in tasks]
    for again in (play(env, tasks[0]), play(env, tasks[0], sets=False)):
        if not _are_equal(again, played[0]):
            yield Finding(
                True,
                "the same task, seed and actions give another episode: take all randomness from self.np_random, which "
                "super().reset(seed=seed) sets, and keep the task until the next set_task.",
            )
            break
    if len({json.dumps(task) for task in tasks}) > 1 and all(_are_equal(one, played[0]) for one in played[1:]):
        yield Finding(False, "all tasks gave the same observations and rewards: does the task reach the reward?")


def play(env: gym.Env, task: Task, sets: bool = True) -> list[Step]:
    """One episode of random actions; the first entry holds the observation of the reset.

    Args:
        env: the environment.
        task: of the episode.
        sets: whether the task is set first, or is in force already.

    Raises:
        CannotGoOn: reset or step fails, or returns something else than it must.
    """
    try:
        if sets:
            task_env_of(env).set_task(task)
        start = env.reset(seed=SEED)
    except Exception as error:
        raise CannotGoOn(f"reset failed after set_task({task}): {one_line(error)}") from error
    if not isinstance(start, tuple) or len(start) != 2:
        raise CannotGoOn("reset must return (observation, info).")
    _require_observation(env, start[0], "reset")
    steps = [Step(np.asarray(start[0]).copy(), 0.0, False, False)]
    rng = np.random.default_rng(SEED)
    while len(steps) <= _STEPS and not (steps[-1].terminated or steps[-1].truncated):
        steps.append(_step(env, random_action(env.action_space, rng)))
    return steps


def _step(env: gym.Env, action: Any) -> Step:
    try:
        outcome = env.step(action)
    except Exception as error:
        _require_five(_unwrapped_step(env, action))
        raise CannotGoOn(f"step failed: {one_line(error)}.{_remedy(env)}") from error
    _require_five(outcome)
    observation, reward, terminated, truncated, _ = outcome
    _require_observation(env, observation, "step")
    try:
        value = float(reward)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise CannotGoOn(f"step must return a finite number as reward, got {reward!r}.")
    return Step(np.asarray(observation).copy(), value, bool(terminated), bool(truncated))


def _unwrapped_step(env: gym.Env, action: Any) -> Any:
    """What a step returns that Gymnasium's wrappers failed to unpack; five values if it fails without them too."""
    try:
        env.reset(seed=SEED)
        return env.unwrapped.step(action)
    except Exception:
        return (None,) * 5


def _require_five(outcome: Any) -> None:
    if not isinstance(outcome, tuple) or len(outcome) != 5:
        got = f"{len(outcome)} values" if isinstance(outcome, tuple) else type(outcome).__name__
        raise CannotGoOn(f"step must return (observation, reward, terminated, truncated, info), got {got}.")


def _remedy(env: gym.Env) -> str:
    """What may help a step that failed: a hint at clipping, if an action within the bounds goes through."""
    try:
        env.reset(seed=SEED)
        env.action_space.seed(SEED)
        env.step(env.action_space.sample())
    except Exception:
        return ""
    return " A Gaussian policy's actions have no bounds: clip them in step."


def _require_observation(env: gym.Env, observation: Any, source: str) -> None:
    space = env.observation_space
    try:
        got = np.asarray(observation).astype(float)
    except (TypeError, ValueError) as error:
        raise CannotGoOn(f"{source} returned an observation that is no array of numbers: {one_line(error)}") from error
    if got.shape != space.shape:
        raise CannotGoOn(f"{source} returned an observation of shape {got.shape}, the space says {space.shape}.")
    if not np.isfinite(got).all():
        raise CannotGoOn(f"{source} returned an observation that is not finite.")


def random_action(space: gym.Space[Any], rng: np.random.Generator) -> Any:
    """A choice, or a normal action that often leaves the bounds, as a Gaussian policy's do."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.start) + int(rng.integers(space.n))
    assert isinstance(space, gym.spaces.Box)
    scale = np.where(np.isfinite(space.high), space.high, 1.0)
    return (2.0 * rng.standard_normal(space.shape) * scale).astype(space.dtype)


def _are_equal(first: list[Step], second: list[Step]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(one.observation, two.observation) and one[1:] == two[1:]
        for one, two in zip(first, second, strict=True)
    )


def check_with_gymnasium(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """What Gymnasium's own checker says."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_env(env.unwrapped, skip_render_check=True)
        except Exception as error:
            yield Finding(False, f"Gymnasium's check_env says: {one_line(error)}")
    texts = dict.fromkeys(" ".join(str(warning.message).replace("\x1b[33mWARN: ", "").split()) for warning in caught)
    for text in texts:
        yield Finding(False, f"Gymnasium's check_env says: {text}".replace("\x1b[0m", ""))


def check_rendering(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """The environment renders pictures, so that it can be filmed."""
    if "rgb_array" not in (env.metadata.get("render_modes") or []):
        yield Finding(False, "metadata['render_modes'] lacks 'rgb_array': the environment cannot be filmed.")
        return
    try:
        rendering = make_single(config, render_mode="rgb_array")
        task_env_of(rendering).set_task(sampled_tasks(env, SEED)[0])
        rendering.reset(seed=SEED)
        frame = np.asarray(rendering.render())
        rendering.close()
    except Exception as error:
        yield Finding(False, f"render failed, so the environment cannot be filmed: {one_line(error)}")
        return
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        yield Finding(False, f"render must return [height, width, 3] of uint8, got {frame.dtype} {frame.shape}.")
