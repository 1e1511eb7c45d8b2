"""Learns the step size of gradient descent on noisy quadratics f(x) = h/2 |x - c|^2, h ~ U[0.5, 3], c ~ N(0, I).

Each step descends h/2 |x - c'|^2, c' ~ N(c, noise^2 I); the meta-loss is f after the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maml_rl.core import adapt, constant, learned_rates
from maml_rl.core.meta_optimisers import adam
from maml_rl.core.types import Meta, Params
from maml_rl.systems import system
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Measure, Progress
from maml_rl.systems.settings import device_of
from maml_rl.systems.system import MetricRoles, Metrics, RunConfig, State


@dataclass(frozen=True)
class Config(RunConfig):
    """The step size of gradient descent.

    Attributes:
        steps: of gradient descent in training.
        tasks: quadratics of a meta-iteration.
        noise: standard deviation of the minimum that a step sees.
        learning_rate: of Adam, which moves the step size.
    """

    steps: int = 5
    tasks: int = 20
    noise: float = 0.5
    learning_rate: float = 0.01


@dataclass(frozen=True)
class StepOptions(EvaluationOptions):
    """How the step size is evaluated.

    Attributes:
        steps: of gradient descent, whatever training used.
        tasks: held-out quadratics.
    """

    steps: int = 10
    tasks: int = 100


class System(system.System[Config, StepOptions]):
    Options = StepOptions
    measure = Measure("loss", higher_is_better=False)
    roles = MetricRoles(selection="score", learning_curve="loss_after")
    tasks_name = "noisy quadratics"

    def __init__(self, config: Config) -> None:
        self.config, self.optimiser = config, adam(constant(config.learning_rate))
        self.zeros = torch.zeros(3, dtype=getattr(torch, config.precision), device=device_of(config.device))

    def initial_state(self) -> State:
        meta = {"rates": {"x": self.zeros[:1] + 0.01}}
        return {"meta": meta, "optimiser": self.optimiser.init(meta)}

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        config = self.config
        tasks = self.draw([config.seed, 0, iteration], config.tasks, config.steps)
        problem = torch.func.grad_and_value(lambda meta: self.losses(meta, *tasks)[:, -1].mean())
        update = self.optimiser.update(state["meta"], state["optimiser"], problem, iteration)
        loss, step_size = float(update.aux), float(state["meta"]["rates"]["x"])
        metrics = {"loss_after": loss, "score": -loss, "step_size": step_size}
        return {"meta": update.meta, "optimiser": update.memory}, metrics

    def evaluate(self, states: Sequence[State], options: StepOptions, progress: Progress | None = None) -> Evaluation:
        curvatures, minima = self.draw([options.seed, 1], options.tasks, options.steps)
        values = self.losses(states[0]["meta"], curvatures, minima).T.double().cpu().numpy()
        return Evaluation(self.measure, values, [{"curvature": float(curvature)} for curvature in curvatures])

    def draw(self, seed: list[int], tasks: int, steps: int) -> tuple[Tensor, Tensor]:
        """Curvatures [N], and minima [N, K + 1, 3]: the true one, then what each step sees of it."""
        generator = np.random.default_rng(seed)
        curvatures, minima = generator.uniform(0.5, 3, tasks), generator.normal(size=(tasks, 1, 3))
        noise = self.config.noise * generator.normal(size=(tasks, steps, 3))
        seen = np.concatenate([minima, minima + noise], axis=1)
        return torch.from_numpy(curvatures).to(self.zeros), torch.from_numpy(seen).to(self.zeros)

    def losses(self, meta: Meta, curvatures: Tensor, minima: Tensor) -> Tensor:
        """f before the first step and after each, [N, K + 1]."""

        def of_task(curvature: Tensor, minima: Tensor) -> Tensor:
            def loss(params: Params, minimum: Tensor, meta: Meta, step: int) -> tuple[Tensor, tuple[()]]:
                return curvature / 2 * (params["x"] - minimum).square().sum(), ()

            path = adapt({"x": self.zeros}, list(minima[1:]), loss, learned_rates(), meta)
            return torch.stack([loss(point.params, minima[0], meta, 0)[0] for point in path])

        return torch.vmap(of_task)(curvatures, minima)
