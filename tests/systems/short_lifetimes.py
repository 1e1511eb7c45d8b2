"""Small runs of meta-gradient reinforcement learning that tests live through."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.online.actor_critic import CriticConfig
from maml_rl.rl.online.hyperparameters import HyperparameterConfig
from maml_rl.rl.online.learner import LearnerConfig, MetaLossConfig
from maml_rl.rl.policies import PolicyConfig
from maml_rl.systems.meta_gradient import Config, System
from maml_rl.systems.meta_gradient_config import MetaConfig
from tests.systems import living

__all__ = ["CASES", "CHAIN", "CHEETAH", "COLOURS", "lived", "same"]

COLOURS = Config(
    precision="float64",
    seeds=3,
    rollout=5,
    policy=PolicyConfig([8]),
    critic=CriticConfig([8]),
    gamma=HyperparameterConfig(0.9, "one"),
    gae_lambda=HyperparameterConfig(0.5, "state", hidden=[4]),
    entropy_weight=HyperparameterConfig(0.2, "rewards", hidden=[4]),
    learning_rate=HyperparameterConfig(0.1, "one"),
    memory=3,
    meta=MetaConfig(rollouts=3, learning_rate=0.01),
    traced=False,
)
CHAIN = replace(
    COLOURS,
    environment=EnvironmentConfig("envs:NoisyChain-v0", {"states": 4}),
    rollout=6,
    critic=CriticConfig(table=True),
    gamma=HyperparameterConfig(0.5, "table"),
    gae_lambda=HyperparameterConfig(1.0),
    entropy_weight=HyperparameterConfig(0.0),
    learning_rate=HyperparameterConfig(2.0),
    meta=MetaConfig(loss=MetaLossConfig(1.0, 1.0, policy_weight=0.0, value_weight=1.0), learning_rate=0.05),
)
CHEETAH = replace(
    COLOURS,
    environment=EnvironmentConfig("envs:HalfCheetahDir-v0", {"horizon": 7}),
    environments=2,
    learner=LearnerConfig("adam", max_norm=0.5),
)
CASES = {
    "unrolled": COLOURS,
    "trace": replace(COLOURS, meta=MetaConfig("trace", 2, decay=0.7)),
    "bootstrapped": replace(COLOURS, meta=MetaConfig("bootstrapped", 2, target_rollouts=2)),
    "nothing learned": replace(COLOURS, gamma=HyperparameterConfig(0.9), gae_lambda=HyperparameterConfig(0.5),
                               entropy_weight=HyperparameterConfig(0.2), learning_rate=HyperparameterConfig(0.1)),
    "recorded": replace(COLOURS, traced=True),
    "chain": CHAIN,
    "cheetah": CHEETAH,
}  # fmt: skip


lived = partial(living.lived, System)
"""Iterations of a new system of a configuration; see `tests.systems.living`."""


def same(first: Any, second: Any) -> bool:
    """Whether two states are equal to the bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)
