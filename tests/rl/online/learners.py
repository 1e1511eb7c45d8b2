"""Small online learners in float64, and rollouts that nobody sampled, for several files of tests."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.core.types import Meta
from maml_rl.rl.online.actor_critic import CriticConfig, Experience, actor_critic
from maml_rl.rl.online.hyperparameters import FIXED, HyperparameterConfig, hyperparameter
from maml_rl.rl.online.learner import LearnerConfig, MetaLossConfig, OnlineLearner, OwnParameters
from maml_rl.rl.policies import PolicyConfig, policy_for

__all__ = ["experience", "learner", "normal", "theta_of"]

_NAMES = ("gamma", "gae_lambda", "entropy_weight", "learning_rate")
_INITIAL = {"gamma": 0.9, "gae_lambda": 0.7, "entropy_weight": 0.2, "learning_rate": 0.3}
_MOVES, _WANTED = LearnerConfig(), MetaLossConfig(0.95, 0.8, 0.9, 0.3, 0.1)
_BOX = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def learner(
    observations: int = 3,
    actions: int | None = 2,
    config: LearnerConfig = _MOVES,
    meta_loss: MetaLossConfig = _WANTED,
    table: bool = False,
    **own: HyperparameterConfig,
) -> OnlineLearner:
    """A learner with tanh networks of a few units.

    Args:
        observations: O.
        actions: how many, or None for two numbers under a Gaussian.
        config: how it moves.
        meta_loss: what its hyper-parameters are learned for.
        table: whether values are a table.
        own: its hyper-parameters; others stay at usual values.
    """
    space = _BOX if actions is None else gym.spaces.Discrete(actions)
    seen = gym.spaces.Box(-np.inf, np.inf, (observations,), np.float64)
    critic = CriticConfig([4], "tanh", table)
    agent = actor_critic(policy_for(PolicyConfig([4], "tanh"), seen, space), observations, critic)
    configs = {name: own.get(name, HyperparameterConfig(_INITIAL[name])) for name in _NAMES}
    parts = [hyperparameter(name, each, observations, 3) for name, each in configs.items()]
    return OnlineLearner(agent, OwnParameters(*parts), config, meta_loss, 3, torch.float64)


def theta_of(one: OnlineLearner, noise: float = 0.0, **fixed: float) -> Meta:
    """Meta-parameters at their start, moved by noise; values of those that are not learned."""
    generator, theta = torch.Generator().manual_seed(11), Meta()
    for part in one.own:
        start = part.start(_INITIAL[part.name], generator, torch.float64)
        if start:
            theta[part.name] = {name: leaf + noise * normal(5, *leaf.shape) for name, leaf in start.items()}
    values = {**_INITIAL, **fixed}
    return {**theta, FIXED: {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}}


def experience(
    seed: int,
    leading: tuple[int, ...],
    steps: int,
    observations: int = 3,
    act: Callable[[int, tuple[int, ...]], Tensor] | None = None,
    **parts: Any,
) -> Experience:
    """Rollouts [..., E, T] of noise with an end in the middle of each: where the task ends it, or by the time limit.

    Args:
        seed: of the noise.
        leading: [..., E].
        steps: T, at least 4.
        observations: O.
        act: makes actions of a seed and a shape; 0 or 1 where nothing is said.
        parts: of the experience, in the place of noise.
    """
    shape = (*leading, steps)
    terminated, goes_on = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
    terminated[..., 1], goes_on[..., 1] = 1, 0
    goes_on[..., -2], goes_on[..., -1] = 0, 0
    places, following = normal(seed, *shape, observations), normal(seed + 1, *shape, observations)
    inside = goes_on[..., :-1, None] > 0
    following[..., :-1, :] = torch.where(inside, places[..., 1:, :], following[..., :-1, :])
    made = Experience(
        places,
        following,
        (act or (lambda seed, shape: (normal(seed, *shape) > 0).long()))(seed + 2, shape),
        normal(seed + 3, *shape),
        terminated,
        goes_on,
    )
    return made._replace(**parts)
