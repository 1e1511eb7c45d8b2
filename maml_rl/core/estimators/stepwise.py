"""An unroll that is differentiated step by step, from its end: what is worked out for one step serves all of them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from maml_rl.core.estimators.problem import Carry, Lifetimes, Problem
from maml_rl.core.estimators.segments import Segment, advance, entered
from maml_rl.core.tree import floats, map_tree, with_floats
from maml_rl.core.types import Batch, Meta

__all__ = ["Steps", "single_step", "step_of"]


def single_step(problem: Problem) -> Callable[[Meta, Carry, Segment], tuple[Carry, Tensor]]:
    """``one(theta, carry, segment)`` is the carry behind a segment's first step, and that step's loss."""

    def one(theta: Meta, carry: Carry, segment: Segment) -> tuple[Carry, Tensor]:
        following, (loss,) = advance(problem, theta, carry, segment, range(1))
        return following, loss

    return one


class Steps:
    """The steps of N lifetimes, one at a time, and their reverse mode.

    a_k = J_k' a_{k+1} + w d loss_k / d c_k, from the slope behind the last step back to the first, where J_k is the
    derivative of step k in its carry. The meta-gradient is the sum of what each step adds to it. All carries are kept,
    and each step is taken once more where its derivative is asked for.

    Args:
        problem: what is lived.
        lifetimes: how many.
    """

    def __init__(self, problem: Problem, lifetimes: Lifetimes) -> None:
        one, enter = single_step(problem), partial(entered, problem)

        def pulled_back(
            theta: Meta, carry: Carry, segment: Segment, after: list[Tensor], weight: Tensor, slopes: Meta
        ) -> tuple[Meta, list[Tensor]]:
            def step(theta: Meta, before: list[Tensor]) -> tuple[list[Tensor], Tensor]:
                following, loss = one(theta, with_floats(carry, before), segment)
                return floats(following), loss

            pull = torch.func.vjp(step, theta, floats(carry))[1]
            added, before = pull((after, weight))
            return map_tree(torch.add, slopes, added), before

        def begun(theta: Meta, segment: Segment, after: list[Tensor], slopes: Meta) -> Meta:
            pull = torch.func.vjp(lambda theta: floats(enter(theta, segment)), theta)[1]
            return map_tree(torch.add, slopes, pull(after)[0])

        seldom = lifetimes.uncompiled()
        self._enter: Callable[..., Carry] = seldom.mapped(enter)
        self._begun: Callable[..., Meta] = seldom.mapped(begun)
        self._one, self._pulled_back = lifetimes.mapped(one), lifetimes.mapped(pulled_back)
        self._apart = lifetimes.apart

    def walk(self, theta: Meta, segment: Segment, count: int) -> tuple[list[Carry], Tensor]:
        """The carries before, between and behind the first `count` steps, and the losses [N, count]."""
        carries, losses = [self._enter(theta, segment._replace(data=()))], []
        for index in range(count):
            carry, loss = self._one(theta, carries[-1], step_of(segment, index))
            carries.append(carry)
            losses.append(loss)
        return carries, torch.stack(losses, 1)

    def back(
        self, theta: Meta, segment: Segment, carries: Sequence[Carry], after: list[Tensor], weight: Tensor
    ) -> Meta:
        """Each lifetime's slope in theta, [N, ...] a leaf, of ``sum_k weight loss_k`` and of what comes behind.

        Args:
            theta: the meta-parameters.
            segment: that was walked.
            carries: before each step that is to be differentiated.
            after: d / d c of what comes behind them, [N, ...] for each leaf that has derivatives.
            weight: w, [N].
        """
        count = len(weight)
        slopes = map_tree(
            lambda leaf: torch.zeros_like(leaf) if self._apart else leaf.new_zeros(count, *leaf.shape), theta
        )
        for index in reversed(range(len(carries))):
            slopes, after = self._pulled_back(theta, carries[index], step_of(segment, index), after, weight, slopes)
        begins = bool((segment.step == 0).any())
        return self._begun(theta, segment._replace(data=()), after, slopes) if begins else slopes


def step_of(segment: Segment, index: int) -> Segment:
    """The step `index` of N segments, as a segment of its own."""

    def one(data: Batch) -> Any:
        return _pytree.tree_map(lambda leaf: leaf[:, index, None], data)

    return segment._replace(step=segment.step + index, data=one(segment.data))
