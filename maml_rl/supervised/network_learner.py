"""Adaptation to supervised tasks on the shared core, the meta-loss of a batch of them, and how good they become."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from maml_rl.core.adapt import adapt
from maml_rl.core.modes import Mode, first_order
from maml_rl.core.objectives import Objective
from maml_rl.core.tree import detach, map_tree, take
from maml_rl.core.types import Meta, Params, Rule
from maml_rl.supervised.batch_norm import moved_statistics
from maml_rl.supervised.losses import Criterion
from maml_rl.supervised.networks.network import Network
from maml_rl.supervised.task_distribution import Labelled, TaskBatch

__all__ = ["NETWORK", "MetaLoss", "NetworkLearner", "Prediction", "ensemble"]

Tree = TypeVar("Tree")

NETWORK = "network"
"""The group of meta-parameters that holds all of a network's parameters, adapted or not."""


class Prediction(NamedTuple):
    """A network's outputs, [E, outputs], and the statistics of its normalisation layers; empty where none are kept."""

    outputs: Tensor
    statistics: Params


class MetaLoss(NamedTuple):
    """The meta-loss of a batch of tasks.

    Attributes:
        gradient: of the mean over tasks, in the meta-parameters.
        losses: sum_k v_k L_query(phi_k) of each task, [N].
        losses_after: L_query(phi_K), or of the last point that counts, [N].
        outputs_after: what was predicted there, [N, E, outputs].
        statistics: running statistics that have seen the batch.
    """

    gradient: Meta
    losses: Tensor
    losses_after: Tensor
    outputs_after: Tensor
    statistics: Params


class NetworkLearner:
    """A network, what it minimises, and the rule by which it adapts.

    Its meta-parameters are ``{"network": ...}``, and the groups that the rule reads.

    Args:
        network: see `Network`.
        criterion: how its predictions are judged.
        rule: the inner update rule.
        adapts: which parameters, by name, the inner steps move, beside those that the network itself holds fixed.
    """

    def __init__(
        self, network: Network, criterion: Criterion, rule: Rule, adapts: Callable[[str], bool] = lambda name: True
    ) -> None:
        self.network, self.criterion, self.rule = network, criterion, rule
        self._adapts = adapts

    def adapted(self, params: Params) -> Params:
        """Those of the network's parameters that adaptation moves."""
        return {name: leaf for name, leaf in params.items() if name not in self.network.fixed and self._adapts(name)}

    def loss(self, params: Params, batch: Labelled, meta: Meta, step: int) -> tuple[Tensor, Prediction]:
        """The criterion's loss on a batch of one task, and what was predicted for it.

        Args:
            params: what is adapted.
            batch: inputs [E, ...] and what belongs to them.
            meta: its group "network" has the other parameters, and may have starts of the adapted ones.
            step: the inner step, which chooses among per-step sets.
        """
        prediction = Prediction(*self.network.apply({**meta[NETWORK], **params}, batch.inputs, step, None))
        return self.criterion.loss(prediction.outputs, batch.targets), prediction

    def meta_loss(
        self,
        meta: Meta,
        statistics: Params,
        tasks: TaskBatch,
        steps: int,
        mode: Mode,
        objective: Objective,
        chunk: int = 0,
    ) -> MetaLoss:
        """Adapts to each task's support and weighs the query losses along the path.

        Args:
            meta: where adaptation starts.
            statistics: running statistics of the normalisation layers; empty where none are kept.
            tasks: N of them.
            steps: inner steps K, all on the whole support.
            mode: how derivatives pass through adaptation.
            objective: which points of the path count.
            chunk: tasks differentiated together; 0 for all.
        """
        theta = map_tree(lambda leaf: leaf.detach().requires_grad_(), meta)
        points = objective.points(steps)

        def task(support: Labelled, query: Labelled) -> tuple[Tensor, Tensor, Tensor, list[Params]]:
            path = self._path(theta, support, steps, mode)
            weighed: list[Tensor] = []
            known: dict[int, Params] = {}
            for step, weight in points:
                point = path[-1] if step == steps else path[step]
                last, prediction = self.loss(point, query, theta, _set_after(step))
                known[step] = prediction.statistics
                weighed.append(last if weight == 1.0 else weight * last)
            of_query = self._query_statistics(theta, path, query, known) if statistics else []
            return torch.stack(weighed).sum(), last.detach(), prediction.outputs.detach(), of_query

        count = len(tasks.query.inputs)
        chunks = []
        for support, query in _chunks(tasks.support, tasks.query, chunk):
            losses, last, outputs, of_query = torch.func.vmap(task)(support, query)
            torch.autograd.backward(losses.sum() / count)
            chunks.append((losses.detach(), last, outputs, of_query))
        gradient = map_tree(lambda leaf: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad, theta)
        losses, last, outputs = (torch.cat(column) for column in list(zip(*chunks, strict=True))[:3])
        moved = statistics
        for step, parts in enumerate(zip(*(part[3] for part in chunks), strict=True)):
            mean = {name: torch.cat([part[name] for part in parts]).mean(0) for name in moved}
            moved = moved_statistics(moved, mean, step)
        return MetaLoss(gradient, losses, last, outputs, moved)

    def displacement(self, meta: Meta, statistics: Params, tasks: TaskBatch, steps: int, chunk: int = 0) -> MetaLoss:
        """theta - mean_i phi_i in the gradient's place (Reptile, Nichol et al., 2018, algorithm 2).

        The losses are the query's after adaptation; nothing is differentiated outside.

        Args:
            meta: where adaptation starts.
            statistics: running statistics; they stay as they are.
            tasks: N of them.
            steps: inner steps K, all on the whole support.
            chunk: tasks adapted together; 0 for all.
        """

        def task(support: Labelled, query: Labelled) -> tuple[Params, Tensor, Tensor]:
            reached = self._path(meta, support, steps, first_order())[-1]
            loss, prediction = self.loss(reached, query, meta, _set_after(steps))
            return reached, loss, prediction.outputs

        with torch.no_grad():
            parts = [torch.func.vmap(task)(*halves) for halves in _chunks(tasks.support, tasks.query, chunk)]
        reached = {name: torch.cat([part[0][name] for part in parts]).mean(0) for name in parts[0][0]}
        gradient = map_tree(torch.zeros_like, meta)
        gradient[NETWORK].update({name: meta[NETWORK][name] - leaf for name, leaf in reached.items()})
        losses, outputs = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
        return MetaLoss(gradient, losses, losses, outputs, statistics)

    @torch.no_grad()
    def outputs(
        self,
        meta: Meta,
        statistics: Params,
        support: Labelled,
        inputs: Tensor,
        steps: int,
        rule: Rule | None = None,
        chunk: int = 0,
    ) -> list[Tensor]:
        """Predictions after 0 to K steps on the support: K + 1 tensors [N, E, outputs]. Nothing is changed.

        Normalisation layers that keep statistics use them for `inputs`, so that a prediction depends on its own input
        and the support; adaptation normalises with the support's own, as in training.

        Args:
            meta: where adaptation starts.
            statistics: running statistics; empty where none are kept.
            support: of N tasks.
            inputs: what to predict, [N, E, ...].
            steps: inner steps.
            rule: another rule than the learner's.
            chunk: tasks adapted together; 0 for all.
        """

        def task(support: Labelled, inputs: Tensor) -> list[Tensor]:
            path = self._path(meta, support, steps, first_order(), rule)
            return [
                self.network.apply({**meta[NETWORK], **point}, inputs, _set_after(step), statistics or None)[0]
                for step, point in enumerate(path)
            ]

        parts = [torch.func.vmap(task)(*halves) for halves in _chunks(support, inputs, chunk)]
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    def _path(self, meta: Meta, support: Labelled, steps: int, mode: Mode, rule: Rule | None = None) -> list[Params]:
        """The adapted parameters at each point of one task's path. The loss is handed what adaptation does not move."""
        start = self.adapted(meta[NETWORK])
        others = {name: leaf for name, leaf in meta[NETWORK].items() if name not in start}
        path = adapt(start, [support] * steps, self.loss, rule or self.rule, {**meta, NETWORK: others}, mode)
        return [state.params for state in path]

    def _query_statistics(
        self, meta: Meta, path: list[Params], query: Labelled, known: dict[int, Params]
    ) -> list[Params]:
        """One task's query statistics after each step, or before any where there is none; `known` has some of them."""
        steps = len(path) - 1
        return [
            detach(known[step] if step in known else self.loss(detach(path[step]), query, meta, _set_after(step))[1][1])
            for step in range(min(steps, 1), steps + 1)
        ]


def ensemble(outputs: Sequence[list[Tensor]]) -> list[Tensor]:
    """The mean over learners of what they predict at each point of the path."""
    return [torch.stack(point).mean(0) for point in zip(*outputs, strict=True)]


def _set_after(step: int) -> int:
    """The per-step set that serves queries after so many steps: that of the last one taken."""
    return max(step - 1, 0)


def _chunks(support: Labelled, other: Tree, size: int) -> list[tuple[Labelled, Tree]]:
    """Both, in groups of `size` tasks; in one where the size is 0."""
    count = len(support.inputs)
    size = size or count
    return [(take(support, first, first + size), take(other, first, first + size)) for first in range(0, count, size)]
