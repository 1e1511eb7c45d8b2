"""An actor and a critic that learn from rollouts, with a discount, a lambda and an entropy weight of each step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from maml_rl.core.initialisation import Source, linear_layers
from maml_rl.core.types import Params
from maml_rl.rl.advantages import lambda_advantages
from maml_rl.rl.policies import ACTIVATIONS, Policy, perceptron
from maml_rl.rl.sampling.trajectories import Rollout

__all__ = ["ActorCritic", "CriticConfig", "Experience", "Targets", "actor_critic", "experience_of", "targets_of"]

_ACTOR, _CRITIC = "actor.", "critic."


@dataclass(frozen=True)
class CriticConfig:
    """The network of values.

    Attributes:
        hidden: units of each hidden layer; none makes values linear in the observation.
        activation: of the hidden layers.
        table: a value for each state instead of a network, zero at first, where observations are one-hot.
    """

    hidden: list[int] = field(default_factory=lambda: [64, 64])
    activation: Literal["relu", "tanh"] = "relu"
    table: bool = False

    def __post_init__(self) -> None:
        if not all(units > 0 for units in self.hidden):
            raise ValueError(f"`critic.hidden` must be positive numbers, got {self.hidden}.")


class Experience(NamedTuple):
    """T steps of E environments, of one lifetime or with leading dimensions.

    Attributes:
        observations: [..., E, T, O].
        next_observations: [..., E, T, O], after each step, the last ones of an episode where it ends.
        actions: [..., E, T, A], or [..., E, T] where actions are discrete.
        rewards: [..., E, T].
        terminated: [..., E, T], 1 where the task ends the episode.
        goes_on: [..., E, T], 1 where the next entry is the step that follows: not at an episode's end, nor at the
            rollout's.
    """

    observations: Tensor
    next_observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    goes_on: Tensor


def experience_of(rollout: Rollout) -> Experience:
    """What a learner reads of a rollout."""
    rewards = rollout.rewards
    over = (rollout.terminated | rollout.truncated).to(rewards)
    goes_on = 1 - over
    goes_on[..., -1] = 0
    return Experience(
        rollout.observations,
        rollout.next_observations,
        rollout.actions,
        rewards,
        rollout.terminated.to(rewards),
        goes_on,
    )


class Targets(NamedTuple):
    """What a learner takes for true.

    Attributes:
        advantages: G_t - v_t, [E, T].
        returns: G_t, the lambda-returns, [E, T].
    """

    advantages: Tensor
    returns: Tensor


class ActorCritic(NamedTuple):
    """A policy and values with parameters of their own.

    Attributes:
        policy: who acts.
        initial: ``initial(source, dtype)`` draws parameters.
        values: ``values(params, observations)`` for observations [..., O]: [...].
    """

    policy: Policy
    initial: Callable[[Source, torch.dtype], Params]
    values: Callable[[Params, Tensor], Tensor]

    def actor(self, params: Params) -> Params:
        """The policy's own among the parameters."""
        return {name.removeprefix(_ACTOR): leaf for name, leaf in params.items() if name.startswith(_ACTOR)}

    def loss(
        self,
        params: Params,
        experience: Experience,
        targets: Targets,
        value_weight: float,
        entropy_weight: Tensor | float,
    ) -> Tensor:
        """mean_t [-A_t log pi(a_t | s_t) + w_v (G_t - v(s_t))^2 / 2 - w_e H(pi(. | s_t))], targets taken as they are.

        Args:
            params: of the actor and the critic.
            experience: [E, T, ...] a part.
            targets: of these steps.
            value_weight: w_v.
            entropy_weight: w_e, a number or [E, T].
        """
        shape, seen = experience.rewards.shape, experience.observations.flatten(0, -2)  # one product a layer
        distribution = self.policy.act(self.actor(params), seen)
        log_probs = distribution.log_prob(experience.actions.flatten(0, 1)).reshape(shape)
        errors = targets.returns - self.values(params, seen).reshape(shape)
        entropies = distribution.entropy().reshape(shape)
        gains = targets.advantages * log_probs
        return (-gains + 0.5 * value_weight * errors.square() - entropy_weight * entropies).mean()


def actor_critic(policy: Policy, observations: int, critic: CriticConfig) -> ActorCritic:
    """A policy beside a network, or a table, of values for observations of this size."""
    if critic.table:
        return _with_table(policy, observations)
    sizes, activation = [observations, *critic.hidden, 1], ACTIVATIONS[critic.activation]

    def initial(source: Source, dtype: torch.dtype) -> Params:
        actor, values = policy.initial(source, dtype), linear_layers(sizes, source, dtype)
        return {**_named(_ACTOR, actor), **_named(_CRITIC, values)}

    def values(params: Params, seen: Tensor) -> Tensor:
        own = {name.removeprefix(_CRITIC): leaf for name, leaf in params.items() if name.startswith(_CRITIC)}
        return perceptron(own, seen, len(sizes) - 1, activation)[..., 0]

    return ActorCritic(policy, initial, values)


def _with_table(policy: Policy, observations: int) -> ActorCritic:
    def initial(source: Source, dtype: torch.dtype) -> Params:
        table = {"table": torch.zeros(observations, dtype=dtype, device=source.device)}
        return {**_named(_ACTOR, policy.initial(source, dtype)), **_named(_CRITIC, table)}

    return ActorCritic(policy, initial, lambda params, seen: (seen * params[f"{_CRITIC}table"]).sum(-1))


def targets_of(
    agent: ActorCritic, params: Params, experience: Experience, discounts: Tensor, lambdas: Tensor
) -> Targets:
    """Lambda-returns of a rollout by the values of `params`, and what they exceed these values by.

    Behind an episode that the task ended nothing is to come. Behind one that the time limit cut off, and behind the
    rollout's last step, the value of the last observation is.

    Args:
        agent: whose values.
        params: its parameters; derivatives pass through them.
        experience: [E, T, ...] a part.
        discounts: of each state that a step leads to, a number or [E, T].
        lambdas: of each state that a step leads to, a number or [E, T].
    """
    both = torch.stack([experience.observations, experience.next_observations])
    values, next_values = agent.values(params, both.flatten(0, -2)).reshape(both.shape[:-1])
    advantages = lambda_advantages(
        experience.rewards,
        values,
        next_values,
        discounts * (1 - experience.terminated),
        lambdas * experience.goes_on,
    )
    return Targets(advantages, advantages + values)


def _named(beginning: str, params: Params) -> Params:
    return {beginning + name: leaf for name, leaf in params.items()}
