"""How the system `meta_gradient` estimates meta-gradients, and which updates of a window count."""

import torch

from maml_rl.core.estimators import Estimator, Lifetimes, bootstrapped, decayed_trace, truncated_unroll, weighed
from maml_rl.core.types import Batch
from maml_rl.rl.online.actor_critic import Experience
from maml_rl.rl.online.hyperparameters import FIXED
from maml_rl.rl.online.learner import OnlineLearner
from maml_rl.systems.meta_gradient_config import MetaConfig

__all__ = ["estimator_of", "weighed_data"]


def estimator_of(meta: MetaConfig, learner: OnlineLearner, lifetimes: Lifetimes) -> Estimator:
    """The estimator of a configuration; its data are those of `weighed_data`."""
    problem = learner.problem()
    if meta.estimator == "trace":
        return decayed_trace(problem, lifetimes, meta.rollouts, meta.decay, (FIXED,))
    if meta.estimator == "bootstrapped":
        target = learner.descend, learner.match
        return bootstrapped(problem, lifetimes, meta.rollouts, meta.target_rollouts, *target)
    return truncated_unroll(weighed(problem) if _counts_unlike(meta) else problem, lifetimes, meta.rollouts)


def weighed_data(meta: MetaConfig, data: Experience, iteration: int) -> Batch:
    """The rollouts of a window, [N, K, ...] a part, with weights [N, K] of their meta-losses where these are unlike."""
    if not _counts_unlike(meta):
        return data
    weights = torch.tensor(meta.weights(iteration), dtype=data.rewards.dtype, device=data.rewards.device)
    return data, weights.expand(len(data.rewards), -1)


def _counts_unlike(meta: MetaConfig) -> bool:
    return meta.estimator == "unrolled" and meta.objective != "uniform"
