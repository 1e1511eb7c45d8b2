"""Checks a task environment before anybody trains on it: what is missing, and how to mend it."""

import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from maml_rl.rl.environments.task_env import Task, TaskError, VectorTaskEnv, plain_task
from maml_rl.rl.environments.vector import EnvironmentConfig, EnvironmentError, held_out, make_single, make_vector

__all__ = ["Finding", "check_task_env"]

_SEED, _STEPS, _TASKS = 17, 25, 4


class Finding(NamedTuple):
    """What a check has to say.

    Attributes:
        serious: whether training would fail or learn from wrong data; otherwise it is worth a look.
        text: what is wrong and how to mend it.
    """

    serious: bool
    text: str


class _Broken(Exception):
    """A check found that the ones after it cannot be made."""


def check_task_env(environment: str | EnvironmentConfig, **arguments: Any) -> list[Finding]:
    """Makes the environment, plays a few episodes, and holds it against what `TaskEnv` promises.

    Args:
        environment: a Gymnasium id such as "my_package:MyTask-v0", or a whole configuration.
        **arguments: of the environment's constructor, with an id.

    Returns:
        What was found; an empty list means that nothing was.
    """
    config = EnvironmentConfig(environment, arguments) if isinstance(environment, str) else environment
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's warnings about each step: the checks say it once
        return _checked(config)


def _checked(config: EnvironmentConfig) -> list[Finding]:
    found: list[Finding] = []
    try:
        env = make_single(config)
    except EnvironmentError as error:
        return [Finding(True, str(error))]
    try:
        for check in (_spaces, _horizon, _held_out, _tasks, _episodes, _gymnasium, _pictures, _vector, _workers):
            found += check(config, env)
    except _Broken as error:
        found.append(Finding(True, str(error)))
    except Exception as error:  # environments from elsewhere fail where nobody expects it
        found.append(Finding(True, f"a check failed: {_told(error)}"))
    try:
        env.close()
    except Exception as error:
        found.append(Finding(False, f"close failed: {_told(error)}"))
    return found


class _Moment(NamedTuple):
    """What one step returned."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool


def _spaces(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    space = env.action_space
    if not isinstance(space, gym.spaces.Discrete) and not (isinstance(space, gym.spaces.Box) and len(space.shape) == 1):
        yield Finding(
            True,
            f"the action space is {space}; policies exist for Discrete and one-dimensional Box spaces: reshape it.",
        )
    if isinstance(space, gym.spaces.Box) and not np.isfinite([space.low, space.high]).all():
        yield Finding(False, "the action space has infinite bounds; finite ones tell users the scale of an action.")


def _horizon(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    spec = gym.spec(config.id.rpartition(":")[2])
    if not (config.max_episode_steps or getattr(env.unwrapped, "horizon", None) or spec.max_episode_steps):
        yield Finding(
            True,
            "there is no horizon: register the environment with max_episode_steps, give it an attribute `horizon`, or "
            "set environment.max_episode_steps.",
        )


def _held_out(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    if not config.held_out:
        return
    try:
        other = make_single(held_out(config))
    except EnvironmentError as error:
        yield Finding(True, f"with `held_out` {config.held_out}: {error}")
        return
    if other.observation_space.shape != env.observation_space.shape or other.action_space != env.action_space:
        yield Finding(True, f"with `held_out` {config.held_out} the environment has other spaces than without.")
    other.close()


def _tasks(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    first, again, other = (_drawn(env, seed) for seed in (_SEED, _SEED, _SEED + 1))
    if first != again:
        yield Finding(
            True, "sample_tasks(count, rng) draws other tasks from the same rng: take all randomness from `rng`."
        )
    if first == other and len({json.dumps(task) for task in first}) == 1:
        yield Finding(False, "sample_tasks draws one task only: there is nothing to adapt to.")
    for task in first:
        try:
            env.unwrapped.set_task(task)  # type: ignore[attr-defined]
        except Exception as error:
            raise _Broken(f"set_task refuses the task {task} that sample_tasks drew: {_told(error)}") from error
    try:
        env.unwrapped.set_task({"a name that no task has": 0})  # type: ignore[attr-defined]
        yield Finding(False, "set_task accepts a task with an unknown name: refuse it, for users mistype.")
    except Exception:
        pass


def _drawn(env: gym.Env, seed: int) -> list[Task]:
    sample: Callable[..., Any] = env.unwrapped.sample_tasks  # type: ignore[attr-defined]
    try:
        inspect.signature(sample).bind(_TASKS, np.random.default_rng(0))
    except TypeError as error:
        raise _Broken(f"sample_tasks must take (count, rng): {error}.") from error
    try:
        drawn = sample(_TASKS, np.random.default_rng(seed))
    except Exception as error:
        raise _Broken(f"sample_tasks({_TASKS}, rng) failed: {_told(error)}") from error
    if not isinstance(drawn, (list, tuple)) or len(drawn) != _TASKS:
        raise _Broken(f"sample_tasks({_TASKS}, rng) must return a list of {_TASKS} tasks, got {drawn!r}."[:300])
    try:
        return [plain_task(task) for task in drawn]
    except TaskError as error:
        raise _Broken(f"sample_tasks returned a task that cannot be stored: {error}") from error


def _episodes(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    tasks = _drawn(env, _SEED)
    played = [_play(env, task) for task in tasks]
    for again in (_play(env, tasks[0]), _play(env, tasks[0], sets=False)):
        if not _same(again, played[0]):
            yield Finding(
                True,
                "the same task, seed and actions give another episode: take all randomness from self.np_random, which "
                "super().reset(seed=seed) sets, and keep the task until the next set_task.",
            )
            break
    if len({json.dumps(task) for task in tasks}) > 1 and all(_same(one, played[0]) for one in played[1:]):
        yield Finding(False, "all tasks gave the same observations and rewards: does the task reach the reward?")


def _play(env: gym.Env, task: Task, sets: bool = True) -> list[_Moment]:
    """One episode of random actions, checked step by step."""
    try:
        if sets:
            env.unwrapped.set_task(task)  # type: ignore[attr-defined]
        found = env.reset(seed=_SEED)
    except Exception as error:
        raise _Broken(f"reset failed after set_task({task}): {_told(error)}") from error
    if not isinstance(found, tuple) or len(found) != 2:
        raise _Broken("reset must return (observation, info).")
    _require_observation(env, found[0], "reset")
    trail = [_Moment(np.asarray(found[0]).copy(), 0.0, False, False)]
    rng = np.random.default_rng(_SEED)
    for _ in range(_STEPS):
        action = _action(env.action_space, rng)
        try:
            outcome = env.step(action)
        except Exception as error:
            _require_five(_unwrapped_step(env, action))
            raise _Broken(f"step failed: {_told(error)}.{_remedy(env)}") from error
        _require_five(outcome)
        observation, reward, terminated, truncated, _ = outcome
        _require_observation(env, observation, "step")
        try:
            value = float(reward)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = np.nan
        if not np.isfinite(value):
            raise _Broken(f"step must return a finite number as reward, got {reward!r}.")
        trail.append(_Moment(np.asarray(observation).copy(), value, bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return trail


def _unwrapped_step(env: gym.Env, action: Any) -> Any:
    """What a step returns that Gymnasium's wrappers failed to unpack; five values if it fails without them too."""
    try:
        env.reset(seed=_SEED)
        return env.unwrapped.step(action)
    except Exception:
        return (None,) * 5


def _require_five(outcome: Any) -> None:
    if not isinstance(outcome, tuple) or len(outcome) != 5:
        got = f"{len(outcome)} values" if isinstance(outcome, tuple) else type(outcome).__name__
        raise _Broken(f"step must return (observation, reward, terminated, truncated, info), got {got}.")


def _remedy(env: gym.Env) -> str:
    """What may help a step that failed: a hint at clipping, if an action within the bounds goes through."""
    try:
        env.reset(seed=_SEED)
        env.action_space.seed(_SEED)
        env.step(env.action_space.sample())
    except Exception:
        return ""
    return " A Gaussian policy's actions have no bounds: clip them in step."


def _require_observation(env: gym.Env, observation: Any, source: str) -> None:
    space = env.observation_space
    try:
        got = np.asarray(observation).astype(float)
    except (TypeError, ValueError) as error:
        raise _Broken(f"{source} returned an observation that is no array of numbers: {_told(error)}") from error
    if got.shape != space.shape:
        raise _Broken(f"{source} returned an observation of shape {got.shape}, the space says {space.shape}.")
    if not np.isfinite(got).all():
        raise _Broken(f"{source} returned an observation that is not finite.")


def _action(space: gym.Space[Any], rng: np.random.Generator) -> Any:
    if isinstance(space, gym.spaces.Discrete):
        return int(space.start) + int(rng.integers(space.n))
    assert isinstance(space, gym.spaces.Box)
    scale = np.where(np.isfinite(space.high), space.high, 1.0)
    return (2.0 * rng.standard_normal(space.shape) * scale).astype(space.dtype)


def _same(first: list[_Moment], second: list[_Moment]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(one.observation, two.observation) and one[1:] == two[1:]
        for one, two in zip(first, second, strict=True)
    )


def _gymnasium(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """What Gymnasium's own checker says."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            check_env(env.unwrapped, skip_render_check=True)
        except Exception as error:
            yield Finding(False, f"Gymnasium's check_env says: {_told(error)}")
    texts = dict.fromkeys(" ".join(str(warning.message).replace("\x1b[33mWARN: ", "").split()) for warning in said)
    for text in texts:
        yield Finding(False, f"Gymnasium's check_env says: {text}".replace("\x1b[0m", ""))


def _pictures(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    if "rgb_array" not in (env.metadata.get("render_modes") or []):
        yield Finding(False, "metadata['render_modes'] lacks 'rgb_array': the environment cannot be filmed.")
        return
    try:
        drawing = make_single(config, render_mode="rgb_array")
        drawing.unwrapped.set_task(_drawn(env, _SEED)[0])  # type: ignore[attr-defined]
        drawing.reset(seed=_SEED)
        frame = np.asarray(drawing.render())
        drawing.close()
    except Exception as error:
        yield Finding(False, f"render failed, so the environment cannot be filmed: {_told(error)}")
        return
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        yield Finding(False, f"render must return [height, width, 3] of uint8, got {frame.dtype} {frame.shape}.")


def _vector(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """A vector version has to do what single environments do."""
    if gym.spec(config.id.rpartition(":")[2]).vector_entry_point is None:
        return
    try:
        envs: Any = make_vector(config, 2)
    except EnvironmentError as error:
        yield Finding(True, str(error))
        return
    try:
        if getattr(envs, "metadata", {}).get("autoreset_mode") != AutoresetMode.DISABLED or not isinstance(
            envs, VectorTaskEnv
        ):
            yield Finding(
                False,
                "the vector version is not used, for it lacks something of "
                "maml_rl.rl.environments.task_env.VectorTaskEnv: sample_tasks, set_tasks, autoreset DISABLED.",
            )
            return
        yield from _compared(envs, env, _drawn(env, _SEED)[:2])
    except _Broken:
        raise
    except Exception as error:
        yield Finding(True, f"the vector version failed: {_told(error)}")
    finally:
        envs.close()


def _compared(envs: Any, env: gym.Env, tasks: list[Task]) -> Iterator[Finding]:
    """The vector version against single episodes: what each step returns, and a restart of one of two."""
    alone = [_play(env, task) for task in tasks]
    envs.set_tasks(tasks)
    observations, _ = envs.reset(seed=[_SEED, _SEED])
    rng = np.random.default_rng(_SEED)
    for moment in range(1, min(map(len, alone))):
        action = _action(env.action_space, rng)
        observations, *flags, _ = envs.step(np.stack([action, action]))
        for name, value in zip(("rewards", "terminated", "truncated"), flags, strict=True):
            if np.shape(value) != (2,):
                yield Finding(True, f"the vector version must return {name} of shape (2,), got {np.shape(value)}.")
                return
        for index in range(2):
            one = alone[index][moment]
            if not (
                np.allclose(observations[index], one.observation)
                and np.isclose(flags[0][index], one.reward)
                and (bool(flags[1][index]), bool(flags[2][index])) == (one.terminated, one.truncated)
            ):
                yield Finding(True, "the vector version gives other observations, rewards or ends than the single one.")
                return
    before = np.array(observations)
    after, _ = envs.reset(options={"reset_mask": np.array([True, False])})
    if not np.array_equal(after[1], before[1]):
        yield Finding(True, "the vector version's reset starts environments that reset_mask leaves out.")


def _workers(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """Two worker processes, as backend 'async' has them."""
    try:
        envs: Any = make_vector(replace(config, backend="async", vector_arguments={}), 2)
    except EnvironmentError as error:
        yield Finding(False, f"backend 'async' is out: {error}")
        return
    try:
        envs.set_tasks(_drawn(env, _SEED)[:2])
        envs.reset(seed=[_SEED, _SEED])
        rng = np.random.default_rng(_SEED)
        envs.step(np.stack([_action(env.action_space, rng) for _ in range(2)]))
    except Exception as error:
        yield Finding(False, f"backend 'async' is out, for it cannot send what it has to: {_told(error)}")
    finally:
        envs.close()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
