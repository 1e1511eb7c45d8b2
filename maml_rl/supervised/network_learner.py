"""Adaptation to supervised tasks on the shared core, the meta-loss of a batch of them, and how good they become."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.adapt import adapt
from maml_rl.core.modes import Mode, first_order
from maml_rl.core.objectives import Objective
from maml_rl.core.rules import RATES
from maml_rl.core.tree import take
from maml_rl.core.types import Params, Rule
from maml_rl.supervised.batch_norm import moved_statistics
from maml_rl.supervised.losses import accuracy, cross_entropy, squared_error
from maml_rl.supervised.networks import Network
from maml_rl.supervised.task_distribution import Labelled, TaskBatch

__all__ = ["Learner", "Meta", "MetaLoss", "ensemble"]


class Meta(NamedTuple):
    """What is learned across tasks and not by descent within one: the whole state of a meta-learner but its optimiser.

    Attributes:
        params: the network's parameters, and learned rates named ``rates.<parameter>``.
        statistics: running statistics of the normalisation layers; empty where none are kept.
    """

    params: Params
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

    gradient: Params
    losses: Tensor
    losses_after: Tensor
    outputs_after: Tensor
    statistics: Params


class Learner:
    """A network, what it minimises, and the rule by which it adapts.

    Args:
        network: see `Network`.
        kind: "regression" or "classification".
        rule: the inner update rule.
        learns_rates: whether the rule reads rates that are meta-parameters.
        adapts: which parameters, by name, the inner steps move, beside those that the network itself holds fixed.
    """

    def __init__(
        self,
        network: Network,
        kind: str,
        rule: Rule,
        learns_rates: bool = False,
        adapts: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self.network, self.kind, self.rule, self.learns_rates = network, kind, rule, learns_rates
        self._adapts = adapts
        self.loss = cross_entropy if kind == "classification" else squared_error

    def adapted(self, theta: Params) -> Params:
        """Those meta-parameters that adaptation moves."""
        return {
            name: leaf
            for name, leaf in theta.items()
            if name not in self.network.fixed and not name.startswith(RATES) and self._adapts(name)
        }

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Accuracy, or the mean squared error, of each task: [..., E, outputs] -> [...]."""
        if self.kind == "classification":
            return accuracy(outputs, targets)
        return (outputs - targets).square().mean((-2, -1))

    def meta_loss(
        self, meta: Meta, tasks: TaskBatch, steps: int, mode: Mode, objective: Objective, chunk: int = 0
    ) -> MetaLoss:
        """Adapts to each task's support and weighs the query losses along the path.

        Args:
            meta: where adaptation starts.
            tasks: N of them.
            steps: inner steps K, all on the whole support.
            mode: how derivatives pass through adaptation.
            objective: which points of the path count.
            chunk: tasks differentiated together; 0 for all.
        """
        theta = {name: leaf.detach().requires_grad_() for name, leaf in meta.params.items()}
        points = objective.points(steps)
        count = len(tasks.query.inputs)
        found = []
        for first in range(0, count, chunk or count):
            support, query = (take(part, first, first + (chunk or count)) for part in (tasks.support, tasks.query))

            def task(support: Labelled, query: Labelled) -> tuple[Tensor, Tensor, Tensor, list[Params]]:
                path = self._adapted(theta, support, steps, mode)
                weighed: list[Tensor] = []
                seen: dict[int, Params] = {}
                for step, weight in points:
                    point = path[-1] if step == steps else path[step]
                    outputs, seen[step] = self._apply(theta, point, query.inputs, max(step - 1, 0), None)
                    last = self.loss(outputs, query.targets)
                    weighed.append(last if weight == 1.0 else weight * last)
                statistics = self._seen(theta, path, query.inputs, seen) if meta.statistics else []
                return torch.stack(weighed).sum(), last.detach(), outputs.detach(), statistics

            losses, last, outputs, statistics = torch.func.vmap(task)(support, query)
            torch.autograd.backward(losses.sum() / count)
            found.append((losses.detach(), last, outputs, statistics))
        zero = {name: torch.zeros_like(leaf) for name, leaf in theta.items()}
        gradient = {name: zero[name] if leaf.grad is None else leaf.grad for name, leaf in theta.items()}
        losses, last, outputs = (torch.cat(column) for column in list(zip(*found, strict=True))[:3])
        moved = meta.statistics
        for step, parts in enumerate(zip(*(part[3] for part in found), strict=True)):
            seen = {name: torch.cat([part[name] for part in parts]).mean(0) for name in moved}
            moved = moved_statistics(moved, seen, step)
        return MetaLoss(gradient, losses, last, outputs, moved)

    def displacement(self, meta: Meta, tasks: TaskBatch, steps: int, chunk: int = 0) -> MetaLoss:
        """theta - mean_i phi_i in the gradient's place (Reptile, Nichol et al., 2018, algorithm 2).

        The losses are the query's after adaptation; nothing is differentiated outside.

        Args:
            meta: where adaptation starts.
            tasks: N of them.
            steps: inner steps K, all on the whole support.
            chunk: tasks adapted together; 0 for all.
        """
        count = len(tasks.query.inputs)
        size = chunk or count

        def task(support: Labelled, query: Labelled) -> tuple[Params, Tensor, Tensor]:
            reached = self._adapted(meta.params, support, steps, first_order())[-1]
            outputs, _ = self._apply(meta.params, reached, query.inputs, steps - 1, None)
            return reached, self.loss(outputs, query.targets), outputs

        parts = []
        with torch.no_grad():
            for first in range(0, count, size):
                support, query = (take(part, first, first + size) for part in (tasks.support, tasks.query))
                parts.append(torch.func.vmap(task)(support, query))
        reached = {name: torch.cat([part[0][name] for part in parts]).mean(0) for name in parts[0][0]}
        gradient = {
            name: leaf - reached[name] if name in reached else torch.zeros_like(leaf)
            for name, leaf in meta.params.items()
        }
        losses, outputs = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
        return MetaLoss(gradient, losses, losses, outputs, meta.statistics)

    @torch.no_grad()
    def outputs(
        self,
        meta: Meta,
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
            support: of N tasks.
            inputs: what to predict, [N, E, ...].
            steps: inner steps.
            rule: another rule than the learner's.
            chunk: tasks adapted together; 0 for all.
        """
        running = meta.statistics or None

        def task(support: Labelled, inputs: Tensor) -> list[Tensor]:
            path = self._adapted(meta.params, support, steps, first_order(), rule)
            return [
                self._apply(meta.params, point, inputs, max(step - 1, 0), running)[0] for step, point in enumerate(path)
            ]

        count = len(inputs)
        size = chunk or count
        parts = [
            torch.func.vmap(task)(take(support, first, first + size), inputs[first : first + size])
            for first in range(0, count, size)
        ]
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    def _adapted(
        self,
        theta: Params,
        support: Labelled,
        steps: int,
        mode: Mode,
        rule: Rule | None = None,
    ) -> list[Params]:
        """The adapted parameters at each point of one task's path."""
        start = self.adapted(theta)
        rates = {name: theta[RATES + name] for name in start} if self.learns_rates else None

        def loss(params: Params, batch: Labelled, step: int) -> Tensor:
            return self.loss(self._apply(theta, params, batch.inputs, step, None)[0], batch.targets)

        path = adapt(start, [support] * steps, loss, rule or self.rule, rates, mode)
        return [state.params for state in path]

    def _apply(
        self, theta: Params, params: Params, inputs: Tensor, step: int, running: Params | None
    ) -> tuple[Tensor, Params]:
        fixed = {name: leaf for name, leaf in theta.items() if name not in params and not name.startswith(RATES)}
        return self.network.apply({**params, **fixed}, inputs, step, running)

    def _seen(self, theta: Params, path: list[Params], inputs: Tensor, known: dict[int, Params]) -> list[Params]:
        """One task's query statistics after each step, or before any where there is none; `known` has some of them."""
        steps = len(path) - 1
        found = []
        for step in range(min(steps, 1), steps + 1):
            if step not in known:
                point = {name: leaf.detach() for name, leaf in path[step].items()}
                known[step] = self._apply(theta, point, inputs, max(step - 1, 0), None)[1]
            found.append({name: leaf.detach() for name, leaf in known[step].items()})
        return found


def ensemble(outputs: Sequence[list[Tensor]]) -> list[Tensor]:
    """The mean over learners of what they predict at each point of the path."""
    return [torch.stack(point).mean(0) for point in zip(*outputs, strict=True)]
