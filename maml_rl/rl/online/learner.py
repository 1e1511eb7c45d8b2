"""A learner that goes on for ever, as a problem whose meta-parameters are its hyper-parameters (Xu et al., 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.estimators import Carry, Problem
from maml_rl.core.initialisation import Seeded
from maml_rl.core.meta_optimisers import clip_norm
from maml_rl.core.rules import adam, sgd
from maml_rl.core.tree import detach
from maml_rl.core.types import Batch, InnerState, Loss, Meta, Params, Rule
from maml_rl.rl.online.actor_critic import ActorCritic, Experience, Targets, targets_of
from maml_rl.rl.online.hyperparameters import Hyperparameter

__all__ = ["LearnerConfig", "MetaLossConfig", "OnlineLearner", "OwnParameters"]

_LARGEST = 1e18  # of what a policy puts out: observations not yet seen may ask for more, and float32 ends at 3e38


@dataclass(frozen=True)
class LearnerConfig:
    """How the learner moves by a rollout.

    Attributes:
        rule: "sgd" or "adam"; `learning_rate` is its rate.
        value_weight: of half the squared error of values beside the policy's loss.
        max_norm: longest gradient; longer ones are scaled down to it. None leaves them.
    """

    rule: Literal["sgd", "adam"] = "sgd"
    value_weight: float = 1.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.value_weight < float("inf"):
            raise ValueError(f"`learner.value_weight` must be finite and at least 0, got {self.value_weight}.")
        if self.max_norm is not None and not self.max_norm > 0:
            raise ValueError(f"`learner.max_norm` must be positive, got {self.max_norm}.")


@dataclass(frozen=True)
class MetaLossConfig:
    """What hyper-parameters are learned for: the learner's loss on its next rollout, with targets that stay the same.

    Attributes:
        gamma: gamma' of its targets.
        gae_lambda: lambda' of its targets.
        policy_weight: of the policy's loss.
        value_weight: of half the squared error of values.
        entropy_weight: of the policy's entropy.
    """

    gamma: float = 0.99
    gae_lambda: float = 1.0
    policy_weight: float = 1.0
    value_weight: float = 0.0
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`meta.loss.{name}` must be between 0 and 1, got {getattr(self, name)}.")
        for name in ("policy_weight", "value_weight", "entropy_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"`meta.loss.{name}` must be finite and at least 0, got {getattr(self, name)}.")
        if not (self.policy_weight or self.value_weight):
            raise ValueError("`meta.loss` must weigh the policy or the values; both weights are 0.")


class OwnParameters(NamedTuple):
    """The four hyper-parameters.

    Attributes:
        gamma: the discount of each state that a step leads to.
        gae_lambda: lambda of each state that a step leads to.
        entropy_weight: of each state that a step leaves.
        learning_rate: of the rule.
    """

    gamma: Hyperparameter
    gae_lambda: Hyperparameter
    entropy_weight: Hyperparameter
    learning_rate: Hyperparameter


@dataclass(frozen=True)
class OnlineLearner:
    """One lifetime: the carry is the learner, one step of it an update by one rollout, `Experience` its data.

    Attributes:
        agent: the actor and the critic.
        own: its hyper-parameters, functions of theta.
        config: how it moves.
        meta_loss: what theta is learned for.
        window: rollouts whose mean rewards it remembers.
        dtype: of its parameters.
    """

    agent: ActorCritic
    own: OwnParameters
    config: LearnerConfig
    meta_loss: MetaLossConfig
    window: int
    dtype: torch.dtype

    def problem(self) -> Problem:
        """The lifetime. A step's meta-loss is that of the learner before the step, on a rollout that it has not yet
        learned from: the next independent sample, to what the steps before have made of it (Xu et al., 2018, eq. 2).
        """

        def step(theta: Meta, carry: Carry, data: Experience, k: Tensor) -> tuple[Carry, Tensor]:
            return self.learn(theta, carry, data, k), self.objective(carry["params"], data)

        return Problem(self.begin, step)

    def begin(self, theta: Meta, seed: Tensor) -> Carry:
        """A learner that knows nothing."""
        params = self.agent.initial(Seeded(seed), self.dtype)
        like = next(iter(params.values()))
        memory = self._rule(0.0).start(params, theta)
        return {
            "params": params,
            "memory": memory,
            "rewards": like.new_zeros(self.window),
            "outlook": like.new_zeros(()),
        }

    def learn(self, theta: Meta, carry: Carry, data: Experience, k: Tensor) -> Carry:
        """theta' = theta + f(tau, theta, eta): one update by a rollout (Xu et al., 2018, equation 1)."""
        rewards = torch.cat([carry["rewards"][1:], data.rewards.mean()[None]])
        gamma, gae_lambda = (
            part.value(theta, data.next_observations, rewards) for part in (self.own.gamma, self.own.gae_lambda)
        )
        entropy_weight = self.own.entropy_weight.value(theta, data.observations, rewards)
        targets = targets_of(self.agent, carry["params"], data, gamma, gae_lambda)

        def loss(params: Params, batch: tuple[Experience, Targets], meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
            return self.agent.loss(params, *batch, self.config.value_weight, entropy_weight), ()

        state = InnerState(carry["params"], carry["memory"])
        moved = self._moved(theta, state, loss, (data, targets), rewards, k)
        outlook = self._outlook(moved["params"], data.next_observations[..., -1, :])
        return {**moved, "rewards": rewards, "outlook": outlook}

    def descend(self, theta: Meta, carry: Carry, data: Experience, k: Tensor) -> Carry:
        """A step by the gradient of the meta-loss: the last one to a bootstrapped target (Flennerhag et al., 2021)."""

        def loss(params: Params, batch: Experience, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
            return self.objective(params, batch), ()

        state = InnerState(carry["params"], carry["memory"])
        return {**carry, **self._moved(theta, state, loss, data, carry["rewards"], k)}

    def objective(self, params: Params, data: Experience) -> Tensor:
        """J'(tau', theta', eta'): the loss under fixed gamma' and lambda', its targets constants (Xu et al., 2018)."""
        wanted = self.meta_loss
        with torch.no_grad():
            targets = targets_of(
                self.agent,
                detach(params),
                data,
                torch.full_like(data.rewards, wanted.gamma),
                torch.full_like(data.rewards, wanted.gae_lambda),
            )
        targets = Targets(wanted.policy_weight * targets.advantages.detach(), targets.returns.detach())
        return self.agent.loss(params, data, targets, wanted.value_weight, wanted.entropy_weight)

    def match(self, target: Carry, reached: Carry, data: Experience) -> Tensor:
        """mean_t [w'_p KL(pi~ || pi) + w'_v (v~ - v)^2 / 2] on the observations of a rollout."""
        seen = data.observations.flatten(0, -2)
        before, after = (self.agent.policy.act(self.agent.actor(each["params"]), seen) for each in (target, reached))
        wanted, values = (self.agent.values(each["params"], seen) for each in (target, reached))
        apart = self.meta_loss.policy_weight * before.kl(after)
        return (apart + 0.5 * self.meta_loss.value_weight * (wanted - values).square()).mean()

    def reported(self, theta: Meta, carry: Carry, data: Experience) -> dict[str, Tensor]:
        """What each learned hyper-parameter is, on a rollout."""
        learned: Sequence[Hyperparameter] = [part for part in self.own if part.form != "no"]
        return {part.name: part.reported(theta, data.observations, carry["rewards"]) for part in learned}

    def _outlook(self, params: Params, observations: Tensor) -> Tensor:
        """How much the policy is about to put out at observations [E, O]: infinite where it cannot act.

        It is part of the carry, so that a learner whose parameters are finite, and whose actions are not, has diverged.
        """
        distribution = self.agent.policy.act(self.agent.actor(detach(params)), observations)
        actions = distribution.sample(torch.ones_like(next(iter(distribution))))
        told = [part.abs().sum() for part in (*distribution, actions)]
        total = torch.stack([part.to(observations) for part in told]).sum()
        return torch.where(total < _LARGEST, total, torch.inf)

    def _rule(self, rate: Any) -> Rule:
        return {"sgd": sgd, "adam": adam}[self.config.rule](lambda step: rate)

    def _moved(self, theta: Meta, state: InnerState, loss: Loss, batch: Batch, rewards: Tensor, k: Tensor) -> Carry:
        """A step of the rule with the learning rate of now."""
        step: Any = k  # a tensor where losses and rules count by numbers
        rule = self._rule(self.own.learning_rate.value(theta, rewards, rewards))
        signal, _ = rule.observe(loss, state, batch, theta, step)
        if self.config.max_norm is not None:
            signal = clip_norm({"": signal}, self.config.max_norm)[0][""]
        powers: Any = k.double()  # a plain number to the power of a whole one is float32, whatever the parameters are
        moved = rule.move(signal, state, theta, powers)
        return {"params": moved.params, "memory": moved.memory}
