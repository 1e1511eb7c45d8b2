"""How a policy adapts to a task, as one value: its rule, its loss, and how derivatives pass through."""

from collections.abc import Sequence
from typing import NamedTuple

from maml_rl.core.adapt import adapt
from maml_rl.core.modes import Mode
from maml_rl.core.types import InnerState, Meta, Params, Rule
from maml_rl.rl.losses import InnerLoss, RLBatch
from maml_rl.rl.policies import Policy

__all__ = ["POLICY", "PolicyLearner"]

POLICY = "policy"
"""The group of meta-parameters that adaptation starts from."""


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

    def begin(self, meta: Meta) -> InnerState:
        """What adaptation begins with: the policy's parameters, and what the rule remembers before the first step."""
        start = self.policy.fresh(meta[POLICY])
        return InnerState(start, self.rule.start(start, meta))

    def path(self, meta: Meta, batches: Sequence[RLBatch]) -> list[Params]:
        """The parameters at each point of one task's path from meta-parameters on: K + 1 for K batches."""
        states = adapt(self.begin(meta), batches, self.loss.of(self.policy), self.rule, meta, self.mode)
        return [state.params for state in states]

    def step(self, state: InnerState, batch: RLBatch, meta: Meta, index: int) -> InnerState:
        """The state after inner step `index` of one task."""
        return adapt(state, [batch], self.loss.of(self.policy), self.rule, meta, self.mode, index)[-1]
