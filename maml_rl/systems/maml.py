"""Supervised meta-learning: MAML, first-order MAML, MAML++ and iMAML as values of one configuration.

Finn et al. (2017); Antoniou et al. (2018); Rajeswaran et al. (2019).
"""

import json
import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.optimisers import adam_start, adam_step, cosine
from maml_rl.core.rules import initial_rates, listed, named_rates, proximal_sgd, sgd
from maml_rl.core.types import Params, Rule
from maml_rl.supervised.network_learner import Learner, Meta, MetaLoss, ensemble
from maml_rl.supervised.networks import network_for
from maml_rl.supervised.task_distribution import Split, TaskBatch, distribution_for
from maml_rl.systems.maml_config import Config, adapts, mode_at, objective_at, rule_of, schedule_of
from maml_rl.systems.settings import device_of

__all__ = ["MAML", "Measured"]

_TRAINING, _VALIDATION, _EVALUATION, _INITIALISATION, _TRIAL = range(5)


class Measured(NamedTuple):
    """How good held-out tasks become.

    Attributes:
        values: accuracy or mean squared error after 0 to K steps, [K + 1, N].
        tasks: what they were.
        outputs: predictions on the query, K + 1 of [N, E, outputs].
    """

    values: np.ndarray
    tasks: TaskBatch
    outputs: list[Tensor]


class MAML:
    """The wiring. State is ``{"params", "statistics", "adam"}``; tasks come from (seed, iteration).

    Raises:
        ValueError: a device, a distribution or a network there is none of, or data that are missing or too few.
    """

    kind = "supervised"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dtype: torch.dtype = getattr(torch, config.precision)
        torch.set_num_threads(config.torch_threads)
        self.distribution = distribution_for(config.distribution, config.data, self.device, self.dtype)
        self.network = network_for(config.network, self.distribution.input_shape, self.distribution.outputs)
        self.learner = Learner(
            self.network,
            self.distribution.kind,
            rule_of(config.inner),
            bool(config.inner.learned_rates),
            adapts(config.inner, self.network),
        )
        trial = self.network.initial(torch.Generator(), self.dtype)
        if not self.learner.adapted(trial):
            raise ValueError(f"`inner.adapts` {config.inner.adapts} names none of {', '.join(trial)}.")
        self.selection_metric, self.keep, self.report_every = "validation_score", config.test.keep, config.report_every
        self.measure = "accuracy" if self.distribution.kind == "classification" else "error"
        for split in get_args(Split):
            self.require_tasks(split)
        self._require_outputs()

    @staticmethod
    def for_use(config: Config) -> Config:
        """The same configuration: there is nothing to leave out."""
        return config

    def initial_state(self) -> dict[str, Any]:
        """The state before the first meta-iteration."""
        config = self.config
        (word,) = SeedSequence([config.seed, _INITIALISATION]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(word >> np.uint64(1)))
        params = {name: leaf.to(self.device) for name, leaf in self.network.initial(generator, self.dtype).items()}
        if config.inner.learned_rates:
            per_scalar = config.inner.learned_rates == "per_scalar"
            adapted, schedule = self.learner.adapted(params), schedule_of(config.inner.rate)
            params |= named_rates(initial_rates(adapted, schedule, config.inner.steps, per_scalar))
        statistics = {name: leaf.to(self.device) for name, leaf in self.network.statistics(self.dtype).items()}
        return {"params": params, "statistics": statistics, "adam": adam_start(params)}

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """One meta-iteration: the next state, and metrics of the state that came in."""
        config, epoch, began = self.config, iteration // self.config.epoch, perf_counter()
        tasks = self.draw(config.seed, _TRAINING, iteration, config.tasks, "train")
        drawn = perf_counter()
        probe = torch.zeros((), dtype=self.dtype, device=self.device, requires_grad=True)
        found = self._descent(Meta(state["params"], state["statistics"]), tasks, epoch, probe)
        gradient = _finite(found.gradient, found.losses)
        if config.outer.clip is not None:
            gradient = {name: leaf.clamp(-config.outer.clip, config.outer.clip) for name, leaf in gradient.items()}
        rate = self._rate(iteration)
        params, moments = adam_step(state["params"], gradient, state["adam"], rate)
        metrics = {
            "meta_loss": float(found.losses.mean()),
            "loss_after": float(found.losses_after.mean()),
            f"{self.measure}_after": float(self.learner.measure(found.outputs_after, tasks.query.targets).mean()),
            "meta_rate": rate,
            **({} if probe.grad is None else {"curvature_indefinite": float(probe.grad) / config.tasks}),
            "drawing_s": drawn - began,
            "iteration_s": perf_counter() - began,
        }
        return {"params": params, "statistics": found.statistics, "adam": moments}, metrics

    def _descent(self, meta: Meta, tasks: TaskBatch, epoch: int, probe: Tensor) -> MetaLoss:
        """The meta-loss and what Adam takes for its gradient."""
        config = self.config
        if config.outer.update == "displacement":
            return self.learner.displacement(meta, tasks, config.inner.steps, config.outer.chunk)
        return self.learner.meta_loss(
            meta,
            tasks,
            config.inner.steps,
            mode_at(config.inner, epoch, probe),
            objective_at(config.outer, epoch),
            config.outer.chunk,
        )

    def validate(self, state: dict[str, Any], iteration: int) -> dict[str, float]:
        """Accuracy or error after `test.steps` on validation tasks at an epoch's end; nan elsewhere."""
        name, began = f"validation_{self.measure}", perf_counter()
        if iteration % self.config.epoch:
            return {name: math.nan, "validation_score": math.nan, "validation_s": 0.0}
        test = self.config.test
        tasks = self.draw(self.config.seed, _VALIDATION, 0, test.validation_tasks, "validation")
        value = float(self._measured([state], tasks, test.steps).values[-1].mean())
        score = -math.inf if not math.isfinite(value) else value if self.measure == "accuracy" else -value
        return {name: value, "validation_score": score, "validation_s": perf_counter() - began}

    def summary(self, metrics: dict[str, float]) -> str:
        """A few words for the progress bar."""
        name = f"{self.measure}_after"
        validated = metrics[f"validation_{self.measure}"]
        more = "" if math.isnan(validated) else f", validation {validated:.4f}"
        return f"{self.measure} {metrics[name]:.4f}{more}"

    def evaluate(
        self,
        states: Sequence[dict[str, Any]],
        steps: int,
        seed: int,
        tasks: int,
        rates: Sequence[float] | None = None,
        split: Split = "test",
        support: int | None = None,
        progress: Callable[[], Any] | None = None,
    ) -> Measured:
        """Adapts to held-out tasks: `steps` inner steps, predictions at each of the steps + 1 points.

        Args:
            states: training states; with more than one, the mean of their outputs predicts.
            steps: inner steps, whatever training used.
            seed: of the tasks, in a stream that training never draws from.
            tasks: how many.
            rates: learning rates of the steps where they are not to be the configuration's.
            split: of the classes.
            support: examples to adapt on, if not as many as in training.
            progress: called after each state.
        """
        drawn = self.draw(seed, _EVALUATION, get_args(Split).index(split), tasks, split, support)
        return self._measured(states, drawn, steps, rates, progress)

    def predict(
        self,
        states: Sequence[dict[str, Any]],
        tasks: TaskBatch,
        inputs: Tensor,
        steps: int,
        rates: Sequence[float] | None = None,
        progress: Callable[[], Any] | None = None,
    ) -> list[Tensor]:
        """Predictions for `inputs` [N, E, ...] after 0 to `steps` steps on the tasks' support, as `evaluate` has it."""
        rule, inputs = self._rule(rates), inputs.to(self.device, self.dtype)
        chunk = self.config.outer.chunk or self.config.tasks
        predictions = []
        for state in states:
            meta = Meta(_placed(state["params"], self.device), _placed(state["statistics"], self.device))
            predictions.append(self.learner.outputs(meta, tasks.support, inputs, steps, rule, chunk))
            if progress is not None:
                progress()
        return ensemble(predictions)

    def rates(self, steps: int, rates: Sequence[float] | None = None) -> list[float] | str:
        """The learning rate of each of `steps` inner steps, or that they are learned."""
        if rates is None and self.config.inner.learned_rates:
            return "learned"
        schedule = schedule_of(self.config.inner.rate) if rates is None else listed(rates)
        return [schedule(step) for step in range(steps)]

    def draw(
        self, seed: int, stream: int, index: int, count: int, split: Split, support: int | None = None
    ) -> TaskBatch:
        """Tasks that depend on these numbers only."""
        generator = np.random.default_rng(SeedSequence([seed, stream, index]))
        return self.distribution.sample(generator, count, support or self.config.support, self.config.query, split)

    def require_tasks(self, split: Split, support: int | None = None) -> None:
        """Raises `ValueError` if the distribution has no such tasks."""
        self.draw(0, _TRIAL, 0, 1, split, support)

    def _require_outputs(self) -> None:
        """Raises `ValueError` unless the network takes the tasks' inputs and returns what they ask for."""
        tasks, state = self.draw(0, _TRIAL, 0, 1, "train"), self.initial_state()
        try:
            (found,) = self.learner.outputs(
                Meta(state["params"], state["statistics"]), tasks.support, tasks.query.inputs, 0
            )
        except Exception as error:  # whatever a network of one's own may raise
            raise ValueError(
                f"`network` {self.config.network.id!r} does not take the tasks' inputs: {error}"
            ) from error
        expected = (*tasks.query.inputs.shape[:2], self.distribution.outputs)
        if tuple(found.shape) != expected:
            raise ValueError(
                f"`network` {self.config.network.id!r} must return [E, outputs] = {expected[1:]} for E = {expected[1]} "
                f"inputs, got {tuple(found.shape[1:])}."
            )

    def data_identity(self) -> dict[str, str]:
        """What the tasks are drawn from: the distribution's arguments, and a digest of each split's classes."""
        identity: dict[str, str] = getattr(self.distribution.distribution, "identity", dict)()
        return {
            **{name: json.dumps(value) for name, value in self.distribution.arguments.items() if _is_plain(value)},
            **{f"{split} classes": digest for split, digest in identity.items()},
        }

    def close(self) -> None:
        """Nothing is held."""

    def _measured(
        self,
        states: Sequence[dict[str, Any]],
        tasks: TaskBatch,
        steps: int,
        rates: Sequence[float] | None = None,
        progress: Callable[[], Any] | None = None,
    ) -> Measured:
        outputs = self.predict(states, tasks, tasks.query.inputs, steps, rates, progress)
        values = torch.stack([self.learner.measure(point, tasks.query.targets) for point in outputs])
        return Measured(values.double().cpu().numpy(), tasks, outputs)

    def _rule(self, rates: Sequence[float] | None) -> Rule | None:
        if rates is None:
            return None
        strength = self.config.inner.proximal
        return proximal_sgd(listed(rates), strength) if strength else sgd(listed(rates))

    def _rate(self, iteration: int) -> float:
        outer = self.config.outer
        if outer.final_rate is None:
            return outer.rate
        epochs = math.ceil(self.config.iterations / self.config.epoch)
        return cosine(outer.rate, outer.final_rate, iteration // self.config.epoch / epochs)


def _is_plain(value: Any) -> bool:
    """Whether a value is made of what JSON knows."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(entry) for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _placed(params: Params, device: torch.device) -> Params:
    return {name: leaf.to(device) for name, leaf in params.items()}


def _finite(gradient: Params, losses: Tensor) -> Params:
    """The gradient, if it and every task's loss are finite.

    Raises:
        FloatingPointError: they are not; names the tasks or the parameters.
    """
    wrong = (~losses.isfinite()).nonzero().flatten().tolist()
    if wrong:
        raise FloatingPointError(f"the meta-loss of task {', '.join(map(str, wrong))} is not finite.")
    names = [name for name, leaf in gradient.items() if not bool(leaf.isfinite().all())]
    if names:
        raise FloatingPointError(f"the meta-gradient of {', '.join(names)} is not finite.")
    return gradient
