"""Supervised meta-learning: MAML, first-order MAML, MAML++ and iMAML as values of one configuration.

Finn et al. (2017); Antoniou et al. (2018); Rajeswaran et al. (2019).
"""

import json
import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, get_args

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from maml_rl.core.meta_optimisers import GradientProblem, adam
from maml_rl.core.rules import RATES, initial_rates
from maml_rl.core.tree import place
from maml_rl.core.types import Meta, Params
from maml_rl.supervised.curve_figure import Curves, curve_figure_size, draw_curves
from maml_rl.supervised.network_learner import NETWORK, MetaLoss, NetworkLearner, ensemble
from maml_rl.supervised.networks import network_for
from maml_rl.supervised.task_distribution import Labelled, Split, TaskBatch, distribution_for
from maml_rl.systems.evaluation import Evaluation, Figure, Measure, Progress
from maml_rl.systems.inner import inner_mode, inner_rule, moves, schedule_of
from maml_rl.systems.maml_config import Config, meta_schedule
from maml_rl.systems.maml_evaluation import MAMLOptions, described_tasks, protocol_of, resolved, settings_of
from maml_rl.systems.settings import device_of, generator_of
from maml_rl.systems.system import MetricRoles, Metrics, State
from maml_rl.systems.system import System as Contract

__all__ = ["Config", "System"]

_TRAINING, _VALIDATION, _EVALUATION, _INITIALISATION, _TRIAL = range(5)
_CURVES, _PLACES = 3, 200


class System(Contract[Config, MAMLOptions]):
    """The wiring. State is ``{"meta", "statistics", "optimiser"}``; tasks come from (seed, iteration).

    Raises:
        ValueError: a device, a distribution or a network there is none of, or data that are missing.
    """

    Options = MAMLOptions

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dtype: torch.dtype = getattr(torch, config.precision)
        self.distribution = distribution_for(config.distribution, config.data, self.device, self.dtype)
        self.network = network_for(config.network, self.distribution.input_shape, self.distribution.outputs)
        criterion, head = self.distribution.criterion, self.network.head
        moved = moves(config.inner, lambda name: name.startswith(head))
        self.learner = NetworkLearner(self.network, criterion, inner_rule(config.inner), moved)
        self.optimiser = adam(meta_schedule(config), config.outer.clip)
        self.measure = Measure(criterion.name, criterion.higher_is_better, criterion.label)
        groups = {"meta": "meta_update", "curvature": "meta_update", "validation": "validation"}
        self.roles = MetricRoles("validation_score", f"validation_{criterion.name}", groups=groups)
        self.tasks_name = config.distribution.id
        self.keep, self.report_every = config.test.keep, config.report_every

    def prepare(self) -> None:
        """Draws one trial task of each split and puts it through the network.

        Raises:
            ValueError: data too few or of other shapes than announced, a network that does not take them, or
                `inner.adapts` that names no parameter.
        """
        params = self.network.initial(torch.Generator(), self.dtype)
        if not self.learner.adapted(params):
            raise ValueError(f"`inner.adapts` {self.config.inner.adapts} names none of {', '.join(params)}.")
        for split in get_args(Split):
            self._trial(split)
        self._require_outputs()

    def initial_state(self) -> State:
        """The state before the first meta-iteration."""
        inner = self.config.inner
        generator = generator_of(self.config.seed, _INITIALISATION)
        meta = {NETWORK: place(self.network.initial(generator, self.dtype), self.device)}
        if inner.learned_rates:
            adapted, schedule = self.learner.adapted(meta[NETWORK]), schedule_of(inner.learning_rate)
            meta[RATES] = initial_rates(adapted, schedule, inner.steps, inner.learned_rates == "per_scalar")
        statistics = place(self.network.statistics(self.dtype), self.device)
        return {"meta": meta, "statistics": statistics, "optimiser": self.optimiser.init(meta)}

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """One meta-iteration: the next state, and metrics of the state that came in."""
        config, began = self.config, perf_counter()
        tasks = self.draw(config.seed, _TRAINING, iteration, config.tasks, "train")
        drawn = perf_counter()
        probe = torch.zeros((), dtype=self.dtype, device=self.device, requires_grad=True)
        problem = self._problem(state["statistics"], tasks, iteration, probe)
        update = self.optimiser.update(state["meta"], state["optimiser"], problem, iteration)
        result: MetaLoss = update.aux
        measured = self.learner.criterion.measure(result.outputs_after, tasks.query.targets)
        metrics = {
            "meta_loss": float(result.losses.mean()),
            "loss_after": float(result.losses_after.mean()),
            f"{self.measure.name}_after": float(measured.mean()),
            **update.metrics,
            **({} if probe.grad is None else {"curvature_indefinite": float(probe.grad) / config.tasks}),
            "drawing_s": drawn - began,
            "iteration_s": perf_counter() - began,
        }
        return {"meta": update.meta, "statistics": result.statistics, "optimiser": update.memory}, metrics

    def _problem(self, statistics: Params, tasks: TaskBatch, iteration: int, probe: Tensor) -> GradientProblem:
        """The meta-loss of the tasks as a function of the meta-parameters, with what Adam takes for its gradient."""
        inner, outer, epoch = self.config.inner, self.config.outer, iteration // self.config.epoch

        def problem(meta: Meta) -> tuple[Meta, MetaLoss]:
            if outer.update == "displacement":
                result = self.learner.displacement(meta, statistics, tasks, inner.steps, outer.chunk)
            else:
                mode, objective = inner_mode(inner, iteration, probe), outer.objective_at(epoch)
                result = self.learner.meta_loss(meta, statistics, tasks, inner.steps, mode, objective, outer.chunk)
            _require_finite(result.losses)
            return result.gradient, result

        return problem

    def validate(self, state: State, iteration: int) -> Metrics:
        """Accuracy or error after `test.steps` on validation tasks at an epoch's end; nan elsewhere."""
        name, began = f"validation_{self.measure.name}", perf_counter()
        if iteration % self.config.epoch:
            return {name: math.nan, "validation_score": math.nan, "validation_s": 0.0}
        test = self.config.test
        tasks = self.draw(self.config.seed, _VALIDATION, 0, test.validation_tasks, "validation")
        outputs = self.predict([state], tasks, tasks.query.inputs, test.steps)
        value = float(self._values(outputs[-1:], tasks).mean())
        score = -math.inf if not math.isfinite(value) else value if self.measure.higher_is_better else -value
        return {name: value, "validation_score": score, "validation_s": perf_counter() - began}

    def summary(self, metrics: Metrics) -> str:
        """A few words for the progress bar."""
        validated = metrics[f"validation_{self.measure.name}"]
        more = "" if math.isnan(validated) else f", validation {validated:.4f}"
        return f"{self.measure.name} {metrics[f'{self.measure.name}_after']:.4f}{more}"

    def resolve(self, options: MAMLOptions) -> MAMLOptions:
        """The options with the configuration's values where nothing is given.

        Raises:
            ValueError: more learning rates than steps, or a split that has too little for such tasks.
        """
        options = resolved(options, self.config)
        self._trial(options.split, options.support)
        return options

    def evaluate(self, states: Sequence[State], options: MAMLOptions, progress: Progress | None = None) -> Evaluation:
        """Adapts to held-out tasks and measures on their queries after 0 to K steps.

        Args:
            states: with more than one, the mean of their outputs predicts.
            options: what to evaluate.
            progress: called after each state.
        """
        config, arguments, options = self.config, self.distribution.arguments, resolved(options, self.config)
        steps, count, rates = options.steps or 0, options.tasks or 1, options.learning_rates
        stream = get_args(Split).index(options.split)
        tasks = self.draw(options.seed, _EVALUATION, stream, count, options.split, options.support)
        outputs = self.predict(states, tasks, tasks.query.inputs, steps, rates, progress)
        figures = {}
        if hasattr(self.distribution.distribution, "curves"):
            drawing = lambda figure: draw_curves(self.fitted_curves(states, tasks, steps, rates), figure)  # noqa: E731
            figures["curves.png"] = Figure(drawing, curve_figure_size(min(_CURVES, count)))
        return Evaluation(
            self.measure,
            self._values(outputs, tasks),
            described_tasks(tasks),
            protocol=protocol_of(config, options, arguments, tasks),
            settings=settings_of(config, options, arguments),
            figures=figures,
        )

    def predict(
        self,
        states: Sequence[State],
        tasks: TaskBatch,
        inputs: Tensor,
        steps: int,
        learning_rates: Sequence[float] | None = None,
        progress: Progress | None = None,
    ) -> list[Tensor]:
        """Predictions for `inputs` [N, E, ...] after 0 to `steps` steps on the tasks' support.

        Args:
            states: with more than one, the mean of their outputs predicts.
            tasks: N of them.
            inputs: what to predict.
            steps: inner steps, whatever training used.
            learning_rates: of the steps, where they are not to be the configuration's.
            progress: called after each state.

        Returns:
            `steps` + 1 tensors [N, E, outputs].
        """
        rule = None if learning_rates is None else inner_rule(self.config.inner, rates=learning_rates)
        inputs, chunk = inputs.to(self.device, self.dtype), self.config.outer.chunk or self.config.tasks
        predictions = []
        for index, state in enumerate(states):
            meta, statistics = place(state["meta"], self.device), place(state["statistics"], self.device)
            predictions.append(self.learner.outputs(meta, statistics, tasks.support, inputs, steps, rule, chunk))
            if progress is not None:
                progress(index + 1, len(states))
        return ensemble(predictions)

    def fitted_curves(
        self, states: Sequence[State], tasks: TaskBatch, steps: int, learning_rates: Sequence[float] | None = None
    ) -> Curves:
        """True and fitted curves of the first three tasks, of a distribution that has `curves`."""
        few = min(_CURVES, len(tasks.query.inputs))
        parameters = {name: values[:few] for name, values in tasks.parameters.items()}
        first = tasks._replace(support=Labelled(*(part[:few] for part in tasks.support)))
        true_curves: Callable[..., Any] = getattr(self.distribution.distribution, "curves")  # noqa: B009
        places, true = true_curves(parameters, _PLACES)
        fitted = self.predict(states, first, true.inputs, steps, learning_rates)
        return Curves(
            places,
            true.targets[..., 0].numpy(),
            first.support.inputs[..., 0].cpu().numpy(),
            first.support.targets[..., 0].cpu().numpy(),
            {step: fitted[step][..., 0].cpu().numpy() for step in sorted({0, min(1, steps), steps})},
        )

    def draw(
        self, seed: int, stream: int, index: int, count: int, split: Split, support: int | None = None
    ) -> TaskBatch:
        """Tasks that depend on these numbers only."""
        generator = np.random.default_rng(SeedSequence([seed, stream, index]))
        return self.distribution.sample(generator, count, support or self.config.support, self.config.query, split)

    def data_identity(self) -> dict[str, str]:
        """What the tasks are drawn from: the distribution's arguments, and a digest of each split's classes."""
        identity: dict[str, str] = getattr(self.distribution.distribution, "identity", dict)()
        return {
            **{name: json.dumps(value) for name, value in self.distribution.arguments.items() if _is_plain(value)},
            **{f"{split} classes": digest for split, digest in identity.items()},
        }

    def _trial(self, split: Split, support: int | None = None) -> TaskBatch:
        """One task of a split; raises `ValueError` if the distribution has no such tasks."""
        return self.draw(0, _TRIAL, 0, 1, split, support)

    def _require_outputs(self) -> None:
        """Raises `ValueError` unless the network takes the tasks' inputs and returns what they ask for."""
        tasks, state, name = self._trial("train"), self.initial_state(), self.config.network.id
        try:
            (outputs,) = self.learner.outputs(state["meta"], state["statistics"], tasks.support, tasks.query.inputs, 0)
        except Exception as error:  # whatever a network of one's own may raise
            raise ValueError(f"`network` {name!r} does not take the tasks' inputs: {error}") from error
        expected = (*tasks.query.inputs.shape[:2], self.distribution.outputs)
        if tuple(outputs.shape) != expected:
            raise ValueError(
                f"`network` {name!r} must return [E, outputs] = {expected[1:]} for E = {expected[1]} inputs, got "
                f"{tuple(outputs.shape[1:])}."
            )

    def _values(self, outputs: Sequence[Tensor], tasks: TaskBatch) -> np.ndarray:
        """The measure at each point of the path, [K + 1, N]."""
        values = torch.stack([self.learner.criterion.measure(point, tasks.query.targets) for point in outputs])
        return values.double().cpu().numpy()


def _is_plain(value: Any) -> bool:
    """Whether a value is made of what JSON knows."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(entry) for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _require_finite(losses: Tensor) -> None:
    """Raises `FloatingPointError`, naming the tasks, unless every task's loss is finite."""
    wrong = (~losses.isfinite()).nonzero().flatten().tolist()
    if wrong:
        raise FloatingPointError(f"the meta-loss of task {', '.join(map(str, wrong))} is not finite.")
