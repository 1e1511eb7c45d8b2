"""Checks of what an environment declares: spaces, a horizon, and the same of its held-out tasks."""

from collections.abc import Iterator

import gymnasium as gym
import numpy as np

from maml_rl.rl.environments.checking.finding import Finding
from maml_rl.rl.environments.task_env import HasHorizon
from maml_rl.rl.environments.vector import EnvironmentConfig, EnvironmentError, held_out, make_single, spec_of

__all__ = ["check_held_out", "check_horizon", "check_spaces"]


def check_spaces(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """Policies exist for the action space."""
    space = env.action_space
    if not isinstance(space, gym.spaces.Discrete) and not (isinstance(space, gym.spaces.Box) and len(space.shape) == 1):
        yield Finding(
            True,
            f"the action space is {space}; policies exist for Discrete and one-dimensional Box spaces: reshape it.",
        )
    if isinstance(space, gym.spaces.Box) and not np.isfinite([space.low, space.high]).all():
        yield Finding(False, "the action space has infinite bounds; finite ones tell users the scale of an action.")


def check_horizon(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """Episodes end at some step."""
    inner = env.unwrapped
    own = inner.horizon if isinstance(inner, HasHorizon) else None
    if not (config.max_episode_steps or own or spec_of(config).max_episode_steps):
        yield Finding(
            True,
            "there is no horizon: register the environment with max_episode_steps, give it an attribute `horizon`, or "
            "set environment.max_episode_steps.",
        )


def check_held_out(config: EnvironmentConfig, env: gym.Env) -> Iterator[Finding]:
    """The environment of held-out tasks can be made, and has the same spaces."""
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
