"""The meta-objective of post-adaptation policies over stored trajectories (Finn et al., 2017, section 5.3).

Every meta-optimiser moves on the same functions: a surrogate and a divergence at each point of the adaptation path that
counts. At the old parameters the divergence has zero gradient, so its Hessian is exactly J' M J, with J the Jacobian of
(adapted distributions, theta) and M the Hessian of the divergence in the distributions' own tensors. J is linearised
once and serves the gradient and all products of conjugate gradient.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.linalg import Linearisation, linearise
from maml_rl.core.objectives import Objective, Point
from maml_rl.core.tree import take, unflatten
from maml_rl.core.types import Params
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.losses import RLBatch, credit, divergence, surrogate, thinned
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.updates.sampler_agreement import require_agreement

__all__ = ["MetaProblem", "Target", "require_finite", "weighted_surrogate"]


class Target(NamedTuple):
    """One point of the adaptation path, for n tasks of a chunk.

    Attributes:
        step: inner steps before it.
        weight: v_k / N, how much its surrogate counts; 0 for a point that is only watched.
        credits: E-MAML's, / N, [n]; None where there are none.
        batch: what was sampled there.
        old: the distributions that sampled, according to the learner.
        old_log_probs: of the batch's actions under them, [n, S].
    """

    step: int
    weight: float
    credits: Tensor | None
    batch: RLBatch
    old: Distribution
    old_log_probs: Tensor


class _Chunk(NamedTuple):
    batches: list[RLBatch]
    targets: list[Target]
    linear: Linearisation | None


class MetaProblem:
    """The meta-surrogate and its divergence as functions of the flat meta-parameters, over stored trajectories.

    Args:
        learner: the policy and how it adapts.
        like: meta-parameters that give names and shapes.
        batches: K + 1 of them, [N, S, ...].
        objective: which points of the path count.
        chunk: tasks differentiated together. Small chunks stay in the processor's cache.
        curvature_share: of the samples that the curvature is estimated from, before adaptation and after; gradient,
            surrogate and divergence always take all.
        credits: of each task for its samples before the last inner step, [N] (E-MAML, Stadie et al., 2018): the loss
            has -credit * sum_s log pi(a_s) in it; none where nothing is given.
        watch: whether all points are looked at, also those that the objective does not count.
    """

    def __init__(
        self,
        learner: PolicyLearner,
        like: Params,
        batches: Sequence[RLBatch],
        objective: Objective,
        chunk: int = 5,
        curvature_share: float = 1.0,
        credits: Tensor | None = None,
        watch: bool = False,
    ) -> None:
        self._learner, self._like, self._credits = learner, like, credits
        self.tasks, self.steps = len(batches[0].weights), len(batches) - 1
        points = objective.points(self.steps)
        if watch or credits is not None:
            counted = {point.step for point in points}
            looked_at = range(self.steps + watch)
            points = sorted([*points, *(Point(step, 0.0) for step in looked_at if step not in counted)])
        self._points = points
        self._starts = range(0, self.tasks, chunk)
        self._pieces = [[take(batch, first, first + chunk) for batch in batches] for first in self._starts]
        self._size = chunk
        self._every = round(1 / curvature_share)
        self._chunks: list[_Chunk] = []
        self._curved: list[_Chunk] = []

    def anchor(self, theta: Tensor) -> None:
        """Takes the adapted policies at `theta`, [P], for the ones that sampled; no Jacobian is kept.

        Raises:
            SamplerMismatchError: see `linearise`.
        """
        self._forget()
        with torch.no_grad():
            for first, batches in zip(self._starts, self._pieces, strict=True):
                targets = self._targets(batches, self._adapted_tensors(batches, theta), first)
                self._chunks.append(_Chunk(batches, targets, None))
        self._require_agreement()

    def linearise(self, theta: Tensor) -> None:
        """The same, and keeps the Jacobian of the adapted policies.

        Raises:
            SamplerMismatchError: their log-probabilities differ from the sampler's, so that the likelihood ratio
                would not be 1 before the first step.
        """
        self._forget()
        for first, batches in zip(self._starts, self._pieces, strict=True):
            chunk = self._linearised(batches, theta, first)
            self._chunks.append(chunk)
            if self._every == 1:
                self._curved.append(chunk)
            else:
                few = [thinned(batch, self._every, self._learner.loss.whole_episodes) for batch in batches]
                self._curved.append(self._linearised(few, theta, first))
        self._require_agreement()

    def gradient(self) -> Tensor:
        """The gradient of the surrogate at the linearised point, [P]: J' times its gradient in the distributions."""
        pulled = []
        for chunk in self._chunks:
            assert chunk.linear is not None
            leaves = tuple(part.clone().requires_grad_() for part in chunk.linear.value)
            loss = weighted_surrogate(chunk.targets, self._distributions(leaves)).sum()
            pulled.append(chunk.linear.pull(torch.autograd.grad(loss, leaves, materialize_grads=True)))
        return torch.stack(pulled).sum(0)

    def product(self, vector: Tensor) -> Tensor:
        """The curvature product J' M J v at the linearised point, [P]."""
        total = torch.zeros_like(vector)
        for chunk in self._curved:
            assert chunk.linear is not None
            tangents = self._distributions(chunk.linear.push(vector))
            cotangent = tuple(
                part
                for target, tangent in zip(chunk.targets, tangents, strict=True)
                for part in target.old.curvature(target.batch.weights * target.weight, tuple(tangent))
            )
            total = total + chunk.linear.pull(cotangent)
        return total

    @torch.no_grad()
    def evaluate(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Surrogate and divergence of each task at `theta`, [N] and [N]; their means are the meta-objective's."""
        losses, divergences = [], []
        for chunk in self._chunks:
            new = self._distributions(self._adapted_tensors(chunk.batches, theta))
            losses.append(weighted_surrogate(chunk.targets, new))
            divergences.append(_weighted_divergence(chunk.targets, new))
        return torch.cat(losses) * self.tasks, torch.cat(divergences) * self.tasks

    @torch.no_grad()
    def divergences(self, theta: Tensor) -> dict[int, float]:
        """Mean divergence over tasks at each point that is looked at, by its step."""
        found = {point.step: 0.0 for point in self._points}
        for chunk in self._chunks:
            new = self._distributions(self._adapted_tensors(chunk.batches, theta))
            for target, act in zip(chunk.targets, new, strict=True):
                found[target.step] += float(divergence(target.old, act, target.batch).sum()) / self.tasks
        return found

    def descend(
        self, theta: Tensor, loss: Callable[[list[Target], list[Distribution]], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """A loss of each task and the gradient of their sum, [N] and [P].

        Args:
            theta: where, [P].
            loss: of n tasks' targets and the distributions at `theta`, [n], each task's already divided by N.
        """
        losses, gradient = [], torch.zeros_like(theta)
        for chunk in self._chunks:
            at = theta.detach().requires_grad_()
            found = loss(chunk.targets, self._distributions(self._adapted_tensors(chunk.batches, at)))
            gradient += torch.autograd.grad(found.sum(), at)[0]
            losses.append(found.detach())
        return torch.cat(losses), gradient

    def _forget(self) -> None:
        """Frees the graphs of the point before."""
        self._chunks.clear()
        self._curved.clear()

    def _linearised(self, batches: list[RLBatch], theta: Tensor, first: int) -> _Chunk:
        linear = linearise(partial(self._adapted_tensors, batches), theta)
        return _Chunk(batches, self._targets(batches, linear.value, first), linear)

    def _targets(self, batches: list[RLBatch], tensors: tuple[Tensor, ...], first: int) -> list[Target]:
        credits = None if self._credits is None else self._credits[first : first + self._size] / self.tasks
        return [
            Target(
                point.step,
                point.weight / self.tasks,
                credits if point.step < self.steps else None,
                batches[point.step],
                old,
                old.log_prob(batches[point.step].actions),
            )
            for point, old in zip(self._points, self._distributions(tensors), strict=True)
        ]

    def _adapted_tensors(self, batches: list[RLBatch], theta: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the distributions at every point that is looked at, for the tasks of `batches`."""
        start, policy = unflatten(theta, self._like), self._learner.policy

        def one_task(*data: RLBatch) -> tuple[Tensor, ...]:
            path = self._learner.path(start, data[:-1])
            acts = [policy.act(path[point.step], data[point.step].observations) for point in self._points]
            return tuple(part for act in acts for part in act)

        return torch.func.vmap(one_task)(*batches)  # type: ignore[no-any-return]

    def _distributions(self, parts: tuple[Tensor, ...]) -> list[Distribution]:
        """The inverse of laying the tensors of all points' distributions side by side."""
        width = len(parts) // len(self._points)
        policy = self._learner.policy
        return [policy.distribution(*parts[i : i + width]) for i in range(0, len(parts), width)]

    def _require_agreement(self) -> None:
        for chunk in self._chunks:
            for target in chunk.targets:
                require_agreement(target.old_log_probs, target.batch.log_probs, target.batch.weights)


def weighted_surrogate(
    targets: list[Target], new: list[Distribution], of: Callable[[Distribution, Tensor, RLBatch], Tensor] = surrogate
) -> Tensor:
    """sum_k v_k L_k / N of each task, L_k what `of` says, with E-MAML's credits where there are any, [n]."""
    total = torch.zeros_like(targets[0].old_log_probs[:, 0])
    for target, act in zip(targets, new, strict=True):
        if target.weight:
            total = total + target.weight * of(act, target.old_log_probs, target.batch)
        if target.credits is not None:
            total = total - target.credits * credit(act, target.old_log_probs, target.batch)
    return total


def require_finite(losses: Tensor) -> None:
    """Raises `FloatingPointError`, naming the task, unless each task's loss is finite, [N]."""
    if not torch.isfinite(losses).all():
        task = int((~torch.isfinite(losses)).nonzero()[0])
        raise FloatingPointError(f"task {task}: the surrogate loss is {float(losses[task])}.")


def _weighted_divergence(targets: list[Target], new: list[Distribution]) -> Tensor:
    terms = [t.weight * divergence(t.old, act, t.batch) for t, act in zip(targets, new, strict=True) if t.weight]
    return torch.stack(terms).sum(0)
