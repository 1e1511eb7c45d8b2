"""Checks of vectors of environments: a native vector version against single episodes, and worker processes."""

from collections.abc import Iterator
from dataclasses import replace

import gymnasium as gym
import numpy as np

from maml_rl.rl.environments.checking.episodes import play, random_action
from maml_rl.rl.environments.checking.finding import SEED, CannotGoOn, Finding, one_line
from maml_rl.rl.environments.checking.tasks import sampled_tasks
from maml_rl.rl.environments.task_env import Task, VectorTaskEnv
from maml_rl.rl.environments.vector import EnvironmentConfig, EnvironmentError, SingleTaskEnvs, make_vector, spec_of

__all__ = ["check_vector_version", "check_worker_processes"]


def check_vector_version(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """A vector version has to do what single environments do."""
    if spec_of(config).vector_entry_point is None:
        return
    try:
        envs = make_vector(replace(config, backend="auto"), 2)
    except EnvironmentError as error:
        yield Finding(True, str(error))
        return
    try:
        if isinstance(envs, SingleTaskEnvs):  # it fell back to single environments
            yield Finding(
                False,
                "the vector version is not used, for it lacks something of "
                "maml_rl.rl.environments.task_env.VectorTaskEnv: sample_tasks, set_tasks, horizon.",
            )
            return
        yield from _compare(envs, env, sampled_tasks(env, SEED)[:2])
    except CannotGoOn:
        raise
    except Exception as error:
        yield Finding(True, f"the vector version failed: {one_line(error)}")
    finally:
        envs.close()


def _compare(envs: VectorTaskEnv, env: gym.Env, tasks: list[Task]) -> Iterator[Finding]:
    """The vector version against single episodes: what each step returns, and a restart of one of two."""
    alone = [play(env, task) for task in tasks]
    envs.set_tasks(tasks)
    observations, _ = envs.reset(seed=[SEED, SEED])
    rng = np.random.default_rng(SEED)
    for steps in list(zip(*alone, strict=False))[1:]:
        action = random_action(env.action_space, rng)
        observations, *outcomes, _ = envs.step(np.stack([action, action]))
        for name, value in zip(("rewards", "terminated", "truncated"), outcomes, strict=True):
            if np.shape(value) != (2,):
                yield Finding(True, f"the vector version must return {name} of shape (2,), got {np.shape(value)}.")
                return
        rewards, terminated, truncated = outcomes
        for index, single in enumerate(steps):
            if not (
                np.allclose(observations[index], single.observation)
                and np.isclose(rewards[index], single.reward)
                and (bool(terminated[index]), bool(truncated[index])) == (single.terminated, single.truncated)
            ):
                yield Finding(True, "the vector version gives other observations, rewards or ends than the single one.")
                return
    before = np.array(observations)
    after, _ = envs.reset(options={"reset_mask": np.array([True, False])})
    if not np.array_equal(after[1], before[1]):
        yield Finding(True, "the vector version's reset starts environments that reset_mask leaves out.")


def check_worker_processes(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """Two worker processes, as backend 'async' has them."""
    try:
        envs = make_vector(replace(config, backend="async", vector_arguments={}), 2)
    except EnvironmentError as error:
        yield Finding(False, f"backend 'async' is out: {error}")
        return
    try:
        envs.set_tasks(sampled_tasks(env, SEED)[:2])
        envs.reset(seed=[SEED, SEED])
        rng = np.random.default_rng(SEED)
        envs.step(np.stack([random_action(env.action_space, rng) for _ in range(2)]))
    except Exception as error:
        yield Finding(False, f"backend 'async' is out, for it cannot send what it has to: {one_line(error)}")
    finally:
        envs.close()
