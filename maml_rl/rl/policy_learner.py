"""How a policy adapts to a task, as one value: its rule, its loss, and how derivatives pass through."""

from collections.abc import Sequence
from typing import NamedTuple

from maml_rl.core.adapt import adapt
from maml_rl.core.modes import Mode
from maml_rl.core.rules.learned_rates import without_rates
from maml_rl.core.types import InnerState, Params, Rule
from maml_rl.rl.losses import InnerLoss, RLBatch
from maml_rl.rl.policies import Policy

__all__ = ["PolicyLearner"]


class PolicyLearner(NamedTuple):
    """A policy and the way it adapts.

    Attributes:
        policy: the policy.
        rule: the inner update rule.
        mode: how derivatives pass through adaptation.
        loss: the inner loss.
    """

    policy: Policy
    rule: Rule
    mode: Mode
    loss: InnerLoss

    def begin(self, theta: Params) -> tuple[Params, Params | None]:
        """What adaptation begins with, and the learned rates among the meta-parameters, if any."""
        params, rates = without_rates(theta)
        return self.policy.fresh(params), rates

    def path(self, theta: Params, batches: Sequence[RLBatch]) -> list[Params]:
        """The parameters at each point of one task's path from meta-parameters on: K + 1 for K batches."""
        start, rates = self.begin(theta)
        states = adapt(start, batches, self.loss.of(self.policy), self.rule, rates, self.mode)
        return [state.params for state in states]

    def step(self, params: Params, batch: RLBatch, rates: Params | None, index: int) -> Params:
        """The parameters after inner step `index` of one task."""
        memory = self.rule.start(params, rates)
        states = adapt(
            InnerState(params, memory),
            [batch],
            self.loss.of(self.policy),
            self.rule,
            rates,
            self.mode,
            index,
        )
        return states[-1].params
