"""Meta-gradients of an actor and a critic with all four hyper-parameters learned, against finite differences."""

import pytest
import torch
from torch import Tensor

from maml_rl.core.estimators import Lifetimes, truncated_unroll
from maml_rl.core.tree import flatten, map_tree, unflatten
from maml_rl.core.types import Meta
from maml_rl.rl.online.actor_critic import Experience, Targets, targets_of
from maml_rl.rl.online.hyperparameters import FIXED, HyperparameterConfig
from maml_rl.rl.online.learner import LearnerConfig, OnlineLearner
from tests.rl.online.learners import experience, learner, normal, theta_of

E, T, K = 2, 6, 3
RULES = {
    "sgd": LearnerConfig("sgd", 0.7),
    "sgd, clipped": LearnerConfig("sgd", 0.7, max_norm=0.05),
    "adam": LearnerConfig("adam", 0.7),
    "adam, clipped": LearnerConfig("adam", 0.7, max_norm=0.05),
}


def _learner(config: LearnerConfig, actions: int | None) -> OnlineLearner:
    own = {
        "gamma": HyperparameterConfig(0.9, "state", hidden=[3]),
        "gae_lambda": HyperparameterConfig(0.7, "one"),
        "entropy_weight": HyperparameterConfig(0.2, "rewards", hidden=[3]),
        "learning_rate": HyperparameterConfig(0.3, "one", limit=0.5),
    }
    return learner(3, actions, config, **own)


def _data(actions: int | None) -> Experience:
    act = (lambda seed, shape: normal(seed, *shape, 2)) if actions is None else None
    return experience(3, (1, K, E), T, act=act)


def _rollouts(data: Experience) -> list[Experience]:
    return [map_tree(lambda leaf, k=k: leaf[0, k], data) for k in range(K)]


def _mean_loss(one: OnlineLearner, theta: Meta, seed: Tensor, data: Experience, targets: list[Targets]) -> Tensor:
    """The mean meta-loss of a life of K rollouts with these targets; fills `targets` where there are none."""
    carry, losses, wanted, fill = one.begin(theta, seed), [], one.meta_loss, not targets
    for k, rollout in enumerate(_rollouts(data)):
        if fill:
            like = torch.ones_like(rollout.rewards)
            made = targets_of(one.agent, carry["params"], rollout, wanted.gamma * like, wanted.gae_lambda * like)
            targets.append(Targets(wanted.policy_weight * made.advantages, made.returns))
        losses.append(one.agent.loss(carry["params"], rollout, targets[k], wanted.value_weight, wanted.entropy_weight))
        carry = one.learn(theta, carry, rollout, torch.tensor(k))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("actions", [2, None], ids=["discrete", "continuous"])
@pytest.mark.parametrize("rule", RULES)
def test_an_unroll_is_the_finite_difference(rule: str, actions: int | None) -> None:
    """Of the mean meta-loss, with its targets held where they are without a difference."""
    one, data = _learner(RULES[rule], actions), _data(actions)
    theta = theta_of(one, 0.3)
    estimator = truncated_unroll(one.problem(), Lifetimes(1, 100, staggered=False), K)
    memory = estimator.init(theta, torch.Generator().manual_seed(0))
    result = estimator.estimate(theta, memory, data, torch.Generator().manual_seed(0))
    targets: list[Targets] = []
    with torch.no_grad():
        middle = _mean_loss(one, theta, memory["seed"][0], data, targets)
        assert float(middle) == pytest.approx(result.metrics["meta_loss"], rel=1e-12)
        learned = {group: leaves for group, leaves in theta.items() if group != FIXED}
        vector, slopes = flatten(learned), flatten({group: result.gradient[group] for group in learned})
        groups = torch.cat([torch.full_like(flatten(learned[group]), n) for n, group in enumerate(learned)])
        for n in range(len(learned)):
            direction = torch.where(groups == n, normal(n, len(vector)), 0.0)
            ahead, behind = (
                float(
                    _mean_loss(
                        one,
                        {**unflatten(vector + side * direction, learned), FIXED: theta[FIXED]},
                        memory["seed"][0],
                        data,
                        targets,
                    )
                )
                for side in (1e-5, -1e-5)
            )
            assert (ahead - behind) / 2e-5 == pytest.approx(float(slopes @ direction), rel=1e-5, abs=1e-9)
    assert all(float(flatten(result.gradient[group]).abs().max()) > 1e-7 for group in learned)


def test_a_learner_under_adam_moves_as_torchs() -> None:
    """The bias correction, too, has the precision of the parameters."""
    one, data = learner(config=LearnerConfig("adam")), _data(2)
    theta = theta_of(one, learning_rate=0.01)
    carry = one.begin(theta, torch.tensor(3))
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in carry["params"].items()}
    optimiser = torch.optim.Adam(leaves.values(), 0.01)
    for k, rollout in enumerate(_rollouts(data)):
        weights = [theta[FIXED][name] for name in ("gamma", "gae_lambda", "entropy_weight")]
        with torch.no_grad():
            targets = targets_of(one.agent, leaves, rollout, *weights[:2])
        optimiser.zero_grad()
        one.agent.loss(leaves, rollout, targets, 1.0, weights[2]).backward()
        optimiser.step()
        carry = one.learn(theta, carry, rollout, torch.tensor(k))
        for name, leaf in leaves.items():
            torch.testing.assert_close(carry["params"][name], leaf.detach(), rtol=1e-7, atol=1e-9)
    assert torch.equal(carry["rewards"], data.rewards[0].flatten(1).mean(1))
