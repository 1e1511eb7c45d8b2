"""The meta-objective of post-adaptation policies over stored trajectories (Finn et al., 2017, section 5.3).

Every meta-optimiser moves on the same functions: a surrogate and a divergence at each point of the adaptation path that
counts. `MetaSurrogate` holds the data. `anchor` gives the functions around the policies that sampled, and `linearise`
gives gradient and curvature as well. At the old parameters the divergence has zero gradient, so its Hessian is exactly
J' M J, with J the Jacobian of (adapted distributions, theta) and M the Hessian of the divergence in the distributions'
own tensors. J is linearised once and serves the gradient and all products of conjugate gradient.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.linalg import Linearisation, linearise
from maml_rl.core.objectives import Objective, Point
from maml_rl.core.tree import take, unflatten
from maml_rl.core.types import Meta
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.losses import RLBatch, credit, divergence, surrogate, thinned
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.updates.sampler_agreement import require_agreement

__all__ = ["Anchored", "LinearisedSurrogate", "MetaSurrogate", "Target", "require_finite", "weighted_surrogate"]


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


class _Curvature(NamedTuple):
    chunk: _Chunk
    linear: Linearisation


class MetaSurrogate:
    """The meta-surrogate and its divergence as functions of the flat meta-parameters, over stored trajectories.

    Args:
        learner: the policy and how it adapts.
        like: meta-parameters that give groups, names and shapes.
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
        like: Meta,
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
            watched = range(self.steps + watch)
            points = sorted([*points, *(Point(step, 0.0) for step in watched if step not in counted)])
        self.points = points
        self._starts = range(0, self.tasks, chunk)
        self._pieces = [[take(batch, first, first + chunk) for batch in batches] for first in self._starts]
        self._size = chunk
        self._every = round(1 / curvature_share)

    def anchor(self, theta: Tensor) -> "Anchored":
        """Takes the adapted policies at `theta`, [P], for the ones that sampled.

        Raises:
            SamplerMismatchError: their log-probabilities differ from the sampler's, so that the likelihood ratio
                would not be 1 before the first step.
            FloatingPointError: a task's surrogate there is not finite; the message names it.
        """
        with torch.no_grad():
            chunks = [
                _Chunk(batches, self._targets(batches, self.adapted_tensors(batches, theta), first))
                for first, batches in zip(self._starts, self._pieces, strict=True)
            ]
        return self._anchored(chunks, theta)

    def linearise(self, theta: Tensor) -> "LinearisedSurrogate":
        """The same, and keeps the Jacobian of the adapted policies.

        Raises:
            SamplerMismatchError: see `anchor`.
            FloatingPointError: see `anchor`.
        """
        whole, curved = [], []
        for first, batches in zip(self._starts, self._pieces, strict=True):
            whole.append(self._linearised(batches, theta, first))
            if self._every > 1:
                few = [thinned(batch, self._every, self._learner.loss.whole_episodes) for batch in batches]
                curved.append(self._linearised(few, theta, first))
        anchored = self._anchored([piece.chunk for piece in whole], theta)
        return LinearisedSurrogate(anchored, whole, curved or whole)

    def adapted_tensors(self, batches: list[RLBatch], theta: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the distributions at every point that is looked at, for the tasks of `batches`."""
        start, policy = unflatten(theta, self._like), self._learner.policy

        def one_task(*data: RLBatch) -> tuple[Tensor, ...]:
            path = self._learner.path(start, data[:-1])
            acts = [policy.act(path[point.step], data[point.step].observations) for point in self.points]
            return tuple(part for act in acts for part in act)

        return torch.func.vmap(one_task)(*batches)  # type: ignore[no-any-return]

    def distributions(self, parts: tuple[Tensor, ...]) -> list[Distribution]:
        """The inverse of laying the tensors of all points' distributions side by side."""
        width = len(parts) // len(self.points)
        policy = self._learner.policy
        return [policy.distribution(*parts[i : i + width]) for i in range(0, len(parts), width)]

    def _anchored(self, chunks: list[_Chunk], theta: Tensor) -> "Anchored":
        for chunk in chunks:
            for target in chunk.targets:
                require_agreement(target.old_log_probs, target.batch.log_probs, target.batch.weights)
        anchored = Anchored(self, chunks)
        losses, divergences = anchored.evaluate(theta)
        require_finite(losses)
        return anchored._replace(before=(float(losses.mean()), float(divergences.mean())))

    def _linearised(self, batches: list[RLBatch], theta: Tensor, first: int) -> _Curvature:
        linear = linearise(partial(self.adapted_tensors, batches), theta)
        return _Curvature(_Chunk(batches, self._targets(batches, linear.value, first)), linear)

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
            for point, old in zip(self.points, self.distributions(tensors), strict=True)
        ]


class Anchored(NamedTuple):
    """A surrogate around the policies that sampled.

    Attributes:
        problem: whose it is.
        chunks: tasks, a few at a time.
        before: mean surrogate and divergence over tasks where it is anchored.
    """

    problem: MetaSurrogate
    chunks: list[_Chunk]
    before: tuple[float, float] = (0.0, 0.0)

    @torch.no_grad()
    def evaluate(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Surrogate and divergence of each task at `theta`, [N] and [N]; their means are the meta-objective's."""
        losses, divergences = [], []
        for chunk in self.chunks:
            new = self._distributions(chunk, theta)
            losses.append(weighted_surrogate(chunk.targets, new))
            divergences.append(_weighted_divergence(chunk.targets, new))
        tasks = self.problem.tasks
        return torch.cat(losses) * tasks, torch.cat(divergences) * tasks

    @torch.no_grad()
    def divergences(self, theta: Tensor) -> dict[int, float]:
        """Mean divergence over tasks at each point that is looked at, by its step."""
        means = {point.step: 0.0 for point in self.problem.points}
        for chunk in self.chunks:
            for target, act in zip(chunk.targets, self._distributions(chunk, theta), strict=True):
                means[target.step] += float(divergence(target.old, act, target.batch).sum()) / self.problem.tasks
        return means

    def descend(
        self, theta: Tensor, loss: Callable[[list[Target], list[Distribution]], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """A loss of each task and the gradient of their sum, [N] and [P].

        Args:
            theta: where, [P].
            loss: of n tasks' targets and the distributions at `theta`, [n], each task's already divided by N.
        """
        losses, gradient = [], torch.zeros_like(theta)
        for chunk in self.chunks:
            at = theta.detach().requires_grad_()
            values = loss(chunk.targets, self._distributions(chunk, at))
            gradient += torch.autograd.grad(values.sum(), at)[0]
            losses.append(values.detach())
        return torch.cat(losses), gradient

    def _distributions(self, chunk: _Chunk, theta: Tensor) -> list[Distribution]:
        return self.problem.distributions(self.problem.adapted_tensors(chunk.batches, theta))


class LinearisedSurrogate(NamedTuple):
    """A surrogate around the policies that sampled, with the Jacobian of the adapted policies there.

    Attributes:
        anchored: the functions themselves.
        whole: the Jacobian at all samples.
        curved: the Jacobian at those that the curvature is estimated from.
    """

    anchored: Anchored
    whole: list[_Curvature]
    curved: list[_Curvature]

    @property
    def before(self) -> tuple[float, float]:
        """Mean surrogate and divergence over tasks where it is linearised."""
        return self.anchored.before

    def values(self, candidate: Tensor) -> tuple[float, float]:
        """Mean surrogate and divergence over tasks elsewhere."""
        losses, divergences = self.anchored.evaluate(candidate)
        return float(losses.mean()), float(divergences.mean())

    def gradient(self) -> Tensor:
        """The gradient of the surrogate, [P]: J' times its gradient in the distributions."""
        pulled = []
        for (_, targets), linear in self.whole:
            leaves = tuple(part.clone().requires_grad_() for part in linear.value)
            loss = weighted_surrogate(targets, self.anchored.problem.distributions(leaves)).sum()
            pulled.append(linear.vjp(torch.autograd.grad(loss, leaves, materialize_grads=True)))
        return torch.stack(pulled).sum(0)

    def product(self, vector: Tensor) -> Tensor:
        """The curvature product J' M J v, [P]."""
        total = torch.zeros_like(vector)
        for (_, targets), linear in self.curved:
            tangents = self.anchored.problem.distributions(linear.jvp(vector))
            cotangent = tuple(
                part
                for target, tangent in zip(targets, tangents, strict=True)
                for part in target.old.curvature(target.batch.weights * target.weight, tuple(tangent))
            )
            total = total + linear.vjp(cotangent)
        return total


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
