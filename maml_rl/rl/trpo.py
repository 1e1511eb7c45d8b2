"""The outer update: a trust-region step on post-adaptation policies (Finn et al., 2017, section 5.3).

At the old parameters the divergence has zero gradient, so its Hessian is exactly J' M J, with J the Jacobian of
(adapted distributions, theta) and M the Hessian of the divergence in the distributions' own tensors. J is linearised
once and serves the gradient and all products of conjugate gradient.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.adapt import adapt
from maml_rl.core.linalg import Linearisation, linearise
from maml_rl.core.modes import Mode
from maml_rl.core.objectives import Objective
from maml_rl.core.tree import flatten, take, unflatten
from maml_rl.core.trust_region import Report, TrustRegion, trust_region_step
from maml_rl.core.types import Params, Rule
from maml_rl.rl.distributions import Distribution
from maml_rl.rl.losses import RLBatch, divergence, reinforce, surrogate, thinned
from maml_rl.rl.policies import Policy

__all__ = ["MetaProblem", "SamplerMismatchError", "meta_step"]


class SamplerMismatchError(RuntimeError):
    """The learner's log-probabilities are not those of the policy that sampled."""


class _Target(NamedTuple):
    """One point of the path that counts, for the tasks of a chunk."""

    batch: RLBatch
    weight: float  # v_k / N
    old: Distribution
    old_log_probs: Tensor


class _Chunk(NamedTuple):
    batches: list[RLBatch]
    targets: list[_Target]
    linear: Linearisation


class MetaProblem:
    """The meta-surrogate and its divergence as functions of the flat initial parameters, over stored trajectories.

    Args:
        policy: the policy.
        like: parameters that give names and shapes.
        batches: K + 1 of them, [N, S, ...].
        rule: the inner update rule.
        mode: how derivatives pass through adaptation, in the gradient and in the curvature alike.
        objective: which points of the path count.
        chunk: tasks differentiated together. Small chunks stay in the processor's cache.
        curvature_share: of the samples that the curvature is estimated from, before adaptation and after; gradient,
            surrogate and divergence always take all.
    """

    def __init__(
        self,
        policy: Policy,
        like: Params,
        batches: Sequence[RLBatch],
        rule: Rule,
        mode: Mode,
        objective: Objective,
        chunk: int = 5,
        curvature_share: float = 1.0,
    ) -> None:
        self._policy, self._like, self._rule, self._mode = policy, like, rule, mode
        self._tasks = len(batches[0].weights)
        self._points = objective.points(len(batches) - 1)
        self._pieces = [
            [take(batch, first, first + chunk) for batch in batches] for first in range(0, self._tasks, chunk)
        ]
        self._every = round(1 / curvature_share)
        self._chunks: list[_Chunk] = []
        self._curved: list[_Chunk] = []

    def linearise(self, theta: Tensor) -> None:
        """Evaluates the adapted policies at `theta`, [P], and keeps their Jacobian.

        Raises:
            SamplerMismatchError: their log-probabilities differ from the sampler's, so that the likelihood ratio
                would not be 1 before the first step.
        """
        self._chunks.clear()  # frees the graph of the point before
        self._curved.clear()
        for batches in self._pieces:
            chunk = self._linearised(batches, theta)
            for target in chunk.targets:
                _require_agreement(target)
            self._chunks.append(chunk)
            if self._every == 1:
                self._curved.append(chunk)
            else:
                self._curved.append(self._linearised([thinned(batch, self._every) for batch in batches], theta))

    def gradient(self) -> Tensor:
        """The gradient of the surrogate at the linearised point, [P]: J' times its gradient in the distributions."""
        pulled = []
        for chunk in self._chunks:
            leaves = tuple(part.clone().requires_grad_() for part in chunk.linear.value)
            loss = _weighted_surrogate(chunk.targets, self._distributions(leaves)).sum()
            pulled.append(chunk.linear.pull(torch.autograd.grad(loss, leaves)))
        return torch.stack(pulled).sum(0)

    def product(self, vector: Tensor) -> Tensor:
        """The curvature product J' M J v at the linearised point, [P]."""
        total = torch.zeros_like(vector)
        for chunk in self._curved:
            tangents = self._distributions(chunk.linear.push(vector))
            cotangent = tuple(
                part
                for target, tangent in zip(chunk.targets, tangents, strict=True)
                for part in target.old.curvature(target.batch.weights * target.weight, tuple(tangent))
            )
            total = total + chunk.linear.pull(cotangent)
        return total

    def _linearised(self, batches: list[RLBatch], theta: Tensor) -> _Chunk:
        linear = linearise(partial(self._adapted_tensors, batches), theta)
        targets = [
            _Target(data, point.weight / self._tasks, old, old.log_prob(data.actions))
            for point, old in zip(self._points, self._distributions(linear.value), strict=True)
            for data in [batches[point.step]]
        ]
        return _Chunk(batches, targets, linear)

    @torch.no_grad()
    def evaluate(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Surrogate and divergence of each task at `theta`, [N] and [N]; their means are the meta-objective's."""
        losses, divergences = [], []
        for chunk in self._chunks:
            new = self._distributions(self._adapted_tensors(chunk.batches, theta))
            losses.append(_weighted_surrogate(chunk.targets, new))
            divergences.append(_weighted_divergence(chunk.targets, new))
        return torch.cat(losses) * self._tasks, torch.cat(divergences) * self._tasks

    def _adapted_tensors(self, batches: list[RLBatch], theta: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the distributions at every point that counts, for the tasks of `batches`."""
        start = unflatten(theta, self._like)

        def one_task(*data: RLBatch) -> tuple[Tensor, ...]:
            path = adapt(start, data[:-1], reinforce(self._policy), self._rule, mode=self._mode)
            acts = [self._policy.act(path[k].params, data[k].observations) for k, _ in self._points]
            return tuple(part for act in acts for part in act)

        return torch.func.vmap(one_task)(*batches)  # type: ignore[no-any-return]

    def _distributions(self, parts: tuple[Tensor, ...]) -> list[Distribution]:
        """The inverse of laying the tensors of all points' distributions side by side."""
        width = len(parts) // len(self._points)
        return [self._policy.distribution(*parts[i : i + width]) for i in range(0, len(parts), width)]


def meta_step(problem: MetaProblem, params: Params, settings: TrustRegion) -> tuple[Params, Report]:
    """One trust-region step from `params` on a problem over their own trajectories.

    Raises:
        FloatingPointError: a task's surrogate or the gradient is not finite; the message names the task.
        SamplerMismatchError: see `MetaProblem.linearise`.
    """
    theta = flatten(params)
    problem.linearise(theta)
    losses, divergences = problem.evaluate(theta)
    if not torch.isfinite(losses).all():
        task = int((~torch.isfinite(losses)).nonzero()[0])
        raise FloatingPointError(f"task {task}: the surrogate loss is {float(losses[task])}.")

    def evaluate(candidate: Tensor) -> tuple[float, float]:
        loss, kl = problem.evaluate(candidate)
        return float(loss.mean()), float(kl.mean())

    before = float(losses.mean()), float(divergences.mean())
    found, report = trust_region_step(theta, before, problem.gradient(), problem.product, evaluate, settings)
    return (unflatten(found, params) if report.accepted else params), report


def _weighted_surrogate(targets: list[_Target], new: list[Distribution]) -> Tensor:
    terms = [t.weight * surrogate(act, t.old_log_probs, t.batch) for t, act in zip(targets, new, strict=True)]
    return torch.stack(terms).sum(0)


def _weighted_divergence(targets: list[_Target], new: list[Distribution]) -> Tensor:
    terms = [t.weight * divergence(t.old, act, t.batch) for t, act in zip(targets, new, strict=True)]
    return torch.stack(terms).sum(0)


def _require_agreement(target: _Target) -> None:
    gaps = (target.old_log_probs - target.batch.log_probs).abs() * (target.batch.weights > 0)
    largest, limit = float(gaps.max()), 1e-8 if gaps.dtype == torch.float64 else 1e-2
    if largest > limit:
        raise SamplerMismatchError(
            f"log-probabilities of the sampler and of the learner differ by {largest:.3g} (limit {limit:g}): "
            "the likelihood ratio would not be 1 before the first step."
        )
