"""Supervised meta-learning: MAML, first-order MAML, MAML++ and iMAML as values of one configuration.

Finn et al. (2017); Antoniou et al. (2018); Rajeswaran et al. (2019).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.implicit import implicit
from maml_rl.core.modes import Mode, annealed_order, first_order, require_compatible, unrolled
from maml_rl.core.objectives import Objective, annealed
from maml_rl.core.optimisers import adam_start, adam_step, cosine
from maml_rl.core.rules import constant, initial_rates, learned_rates, listed, proximal_sgd, sgd
from maml_rl.core.rules.sgd import Schedule
from maml_rl.core.types import Params, Rule
from maml_rl.supervised.learner import RATES, Learner, Meta, ensemble
from maml_rl.supervised.networks import NetworkConfig, network_for
from maml_rl.supervised.tasks import DistributionConfig, Split, TaskBatch, distribution_for
from maml_rl.systems.settings import device_of, objective_of, require

__all__ = ["Config", "MAML", "Measured"]

_TRAINING, _VALIDATION, _EVALUATION, _INITIALISATION = range(4)


@dataclass(frozen=True)
class InnerConfig:
    """Adaptation to one task.

    Attributes:
        steps: inner gradient steps in training (Finn et al., 2017, sinusoid: 1). 0 trains one network on all tasks
            together: the pretrained baseline.
        rate: learning rate of every step (Finn et al., 2017, sinusoid: 0.01), or a list whose last entry goes on.
        learned_rates: learns a rate for each parameter tensor and step, from `rate` on (Antoniou et al., 2018).
        mode: "unrolled" differentiates through the inner steps, "first_order" takes their gradients as constants,
            "implicit" takes the end for a minimum of the proximal problem (Rajeswaran et al., 2019).
        first_order_epochs: epochs up to this one are of first order, later ones unrolled (Antoniou et al., 2018: 50);
            0 for none.
        proximal: lam of the pull towards the start, lam/2 |phi - theta|^2 (Rajeswaran et al., 2019, Omniglot: 2);
            0 for none.
        cg_iterations: of the implicit mode (Rajeswaran et al., 2019: 5).
    """

    steps: int = 1
    rate: float | list[float] = 0.01
    learned_rates: bool = False
    mode: Literal["unrolled", "first_order", "implicit"] = "unrolled"
    first_order_epochs: int = 0
    proximal: float = 0.0
    cg_iterations: int = 5

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("first_order_epochs", 0), ("cg_iterations", 1)):
            require(f"inner.{name}", getattr(self, name) >= least, f"at least {least}", getattr(self, name))
        require("inner.proximal", 0 <= self.proximal < math.inf, "finite and at least 0", self.proximal)
        schedule_of(self.rate)
        if self.learned_rates and self.proximal:
            raise ValueError("`inner.learned_rates` and `inner.proximal` are two different rules; choose one.")
        if self.learned_rates and not self.steps:
            raise ValueError("`inner.learned_rates` needs inner steps to have a rate, got `inner.steps` 0.")
        if self.first_order_epochs and self.mode != "unrolled":
            raise ValueError(f"`inner.first_order_epochs` goes with the mode 'unrolled', got {self.mode!r}.")


@dataclass(frozen=True)
class OuterConfig:
    """The meta-update by Adam.

    Attributes:
        objective: "final" counts the loss after the last inner step (Finn et al., 2017), "uniform" those after each
            step alike, "annealed" moves from uniform to final (Antoniou et al., 2018); a list weighs all steps + 1
            points.
        annealing_epochs: E of the annealed objective: final from epoch E on (Antoniou et al., 2018, code: 10).
        rate: of Adam (Finn et al., 2017: 1e-3).
        final_rate: where cosine annealing ends after the last iteration (Antoniou et al., 2018: 1e-5); the rate stays
            where nothing is given.
        clip: largest entry of the meta-gradient, in absolute value (Finn et al., 2017, mini-ImageNet: 10); none where
            nothing is given.
        chunk: tasks differentiated together, for less memory; 0 for all.
    """

    objective: Literal["final", "uniform", "annealed"] | list[float] = "final"
    annealing_epochs: int = 10
    rate: float = 1e-3
    final_rate: float | None = None
    clip: float | None = None
    chunk: int = 0

    def __post_init__(self) -> None:
        require("outer.rate", 0 < self.rate < math.inf, "positive and finite", self.rate)
        for name in ("annealing_epochs", "chunk"):
            require(f"outer.{name}", getattr(self, name) >= 0, "at least 0", getattr(self, name))
        for name in ("final_rate", "clip"):
            value = getattr(self, name)
            require(f"outer.{name}", value is None or 0 < value < math.inf, "positive and finite", value)


@dataclass(frozen=True)
class HeldOutConfig:
    """How held-out tasks are adapted to.

    Attributes:
        steps: inner steps (Finn et al., 2017: 10 for sinusoids, 3 for 5-way Omniglot).
        validation_tasks: after each epoch (Antoniou et al., 2018: 600).
        keep: how many of the best states by validation are kept for an ensemble (Antoniou et al., 2018: 3).
    """

    steps: int = 10
    validation_tasks: int = 200
    keep: int = 1

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("validation_tasks", 1), ("keep", 1)):
            require(f"test.{name}", getattr(self, name) >= least, f"at least {least}", getattr(self, name))


@dataclass(frozen=True)
class Config:
    """Supervised meta-learning. The defaults are Finn et al. (2017) on sinusoids.

    Attributes:
        system: which system this is a configuration of.
        distribution: the task distribution.
        data: folder or archive of the images, for a distribution that reads one.
        network: the network.
        inner: adaptation.
        outer: the meta-update.
        test: validation and evaluation.
        tasks: N, tasks in a meta-batch (Finn et al., 2017, sinusoid: 25).
        support: examples to adapt on, for each task in regression and for each class in classification (Finn et al.,
            2017, sinusoid: 10, whatever the number at test time).
        query: examples of the meta-loss, likewise (Finn et al., 2017: as many as support).
        epoch: iterations of an epoch, after which the state is validated (Antoniou et al., 2018: 500).
        iterations: meta-iterations (Finn et al., 2017, sinusoid: 70,000).
        report_every: iterations that share a row of metrics and a checkpoint.
        seed: of everything random in training.
        device: "cpu" or "cuda".
        precision: of everything.
        torch_threads: threads of the arithmetic; part of the configuration because sums depend on it in the last bits.
    """

    system: Literal["maml"] = "maml"
    distribution: DistributionConfig = field(default_factory=DistributionConfig)
    data: str | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    test: HeldOutConfig = field(default_factory=HeldOutConfig)
    tasks: int = 25
    support: int = 10
    query: int = 10
    epoch: int = 500
    iterations: int = 70000
    report_every: int = 100
    seed: int = 1
    device: str = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    torch_threads: int = 2

    def __post_init__(self) -> None:
        for name in ("tasks", "support", "query", "epoch", "iterations", "report_every", "torch_threads"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        require("seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
        if self.epoch % self.report_every:
            raise ValueError(f"`epoch` {self.epoch} must be a multiple of `report_every` {self.report_every}.")
        for epoch in (0, self.outer.annealing_epochs):
            objective = objective_at(self.outer, epoch)
            try:
                objective.points(self.inner.steps)
            except ValueError as error:
                raise ValueError(
                    f"`outer.objective` does not go with `inner.steps` {self.inner.steps}: {error}"
                ) from None
            require_compatible(mode_at(self.inner, epoch), rule_of(self.inner), objective)
        if self.inner.mode == "implicit":
            self._require_whole()

    def _require_whole(self) -> None:
        """The implicit derivative reaches the start only, so nothing else may be learned."""
        if self.network.id == "conv4" and self.network.norm != "none" and not self.network.adapt_norm:
            raise ValueError(
                "`inner.mode` 'implicit' differentiates in what is adapted only, but `network.adapt_norm` is false: "
                "set it, or `network.norm` to 'none'."
            )
        rates = self.inner.rate if isinstance(self.inner.rate, list) else [self.inner.rate]
        if min(rates) <= 0 or not self.inner.steps:
            raise ValueError("`inner.mode` 'implicit' needs at least one inner step, of a positive rate.")


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
        ValueError: a device, a distribution or a network there is none of, or data that are missing.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dtype: torch.dtype = getattr(torch, config.precision)
        torch.set_num_threads(config.torch_threads)
        self.distribution = distribution_for(config.distribution, config.data, self.device, self.dtype)
        self.network = network_for(config.network, self.distribution.input_shape, self.distribution.outputs)
        self.learner = Learner(self.network, self.distribution.kind, rule_of(config.inner), config.inner.learned_rates)
        self.selection_metric, self.keep, self.report_every = "validation_score", config.test.keep, config.report_every
        self.measure = "accuracy" if self.distribution.kind == "classification" else "error"

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
            adapted = {name: leaf for name, leaf in params.items() if name not in self.network.fixed}
            rates = initial_rates(adapted, schedule_of(config.inner.rate), config.inner.steps)
            params |= {RATES + name: rate for name, rate in rates.items()}
        statistics = {name: leaf.to(self.device) for name, leaf in self.network.statistics(self.dtype).items()}
        return {"params": params, "statistics": statistics, "adam": adam_start(params)}

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """One meta-iteration: the next state, and metrics of the state that came in."""
        config, epoch, began = self.config, iteration // self.config.epoch, perf_counter()
        tasks = self.draw(config.seed, _TRAINING, iteration, config.tasks, "train")
        drawn = perf_counter()
        probe = torch.zeros((), dtype=self.dtype, device=self.device, requires_grad=True)
        found = self.learner.meta_loss(
            Meta(state["params"], state["statistics"]),
            tasks,
            config.inner.steps,
            mode_at(config.inner, epoch, probe),
            objective_at(config.outer, epoch),
            config.outer.chunk,
        )
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

    def validate(self, state: dict[str, Any], iteration: int) -> dict[str, float]:
        """Accuracy or error after `test.steps` on validation tasks at an epoch's end; nan elsewhere."""
        name = f"validation_{self.measure}"
        if iteration % self.config.epoch and iteration != self.config.iterations:
            return {name: math.nan, "validation_score": math.nan}
        test = self.config.test
        tasks = self.draw(self.config.seed, _VALIDATION, 0, test.validation_tasks, "validation")
        value = float(self._measured([state], tasks, test.steps).values[-1].mean())
        return {name: value, "validation_score": value if self.measure == "accuracy" else -value}

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
        return self._measured(states, drawn, steps, self._rule(rates), progress)

    def predict(
        self, state: dict[str, Any], tasks: TaskBatch, inputs: Tensor, steps: int, rates: Sequence[float] | None = None
    ) -> list[Tensor]:
        """Predictions for `inputs` [N, E, ...] after 0 to `steps` steps on the tasks' support."""
        meta = Meta(_placed(state["params"], self.device), _placed(state["statistics"], self.device))
        return self.learner.outputs(meta, tasks.support, inputs.to(self.device, self.dtype), steps, self._rule(rates))

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

    def close(self) -> None:
        """Nothing is held."""

    def _measured(
        self,
        states: Sequence[dict[str, Any]],
        tasks: TaskBatch,
        steps: int,
        rule: Rule | None = None,
        progress: Callable[[], Any] | None = None,
    ) -> Measured:
        predictions = []
        for state in states:
            meta = Meta(_placed(state["params"], self.device), _placed(state["statistics"], self.device))
            chunk = self.config.outer.chunk or self.config.tasks
            predictions.append(self.learner.outputs(meta, tasks.support, tasks.query.inputs, steps, rule, chunk))
            if progress is not None:
                progress()
        outputs = ensemble(predictions)
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


def schedule_of(rate: float | Sequence[float]) -> Schedule:
    """A number is the rate of every step; a list is taken as it is."""
    return constant(rate) if isinstance(rate, (int, float)) else listed(rate)


def rule_of(inner: InnerConfig) -> Rule:
    """The inner update rule of a configuration."""
    if inner.learned_rates:
        return learned_rates()
    if inner.proximal:
        return proximal_sgd(schedule_of(inner.rate), inner.proximal)
    return sgd(schedule_of(inner.rate))


def mode_at(inner: InnerConfig, epoch: int, probe: Tensor | None = None) -> Mode:
    """The differentiation mode in an epoch; for `probe` see `implicit`."""
    if inner.mode == "implicit":
        return implicit(inner.cg_iterations, probe)
    if inner.mode == "first_order":
        return first_order()
    return annealed_order(epoch, inner.first_order_epochs) if inner.first_order_epochs else unrolled()


def objective_at(outer: OuterConfig, epoch: int) -> Objective:
    """The meta-objective in an epoch."""
    if outer.objective == "annealed":
        return annealed(epoch, outer.annealing_epochs)
    return objective_of(outer.objective)


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
