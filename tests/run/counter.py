"""A system of one's own that is nothing but a counter: its training returns are a list, its gain is a number."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from maml_rl.run.folder import RunFolder
from maml_rl.run.training_run import TrainingRun
from maml_rl.systems import system
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Measure, Progress
from maml_rl.systems.registry import registered
from maml_rl.systems.system import Gain, MetricRoles, Metrics, RunConfig, State


@dataclass(frozen=True)
class Config(RunConfig):
    """The counter.

    Attributes:
        returns: the return of each iteration.
        gain: of adaptation, but for a hundredth in every other iteration.
        fails_at: the iteration that breaks.
        interrupted_at: the iteration that is interrupted.
        report_every: iterations that share a row.
    """

    returns: list[float] = field(default_factory=lambda: [1.0, 5.0, 2.0, 7.0, 3.0])
    gain: float = 1.0
    fails_at: int | None = None
    interrupted_at: int | None = None
    report_every: int = 1


class System(system.System[Config, EvaluationOptions]):
    measure, tasks_name = Measure("return", higher_is_better=True), "numbers"
    gains = Gain("adaptation_gain", level="return_before")
    roles = MetricRoles("return_after", "return_after", ("env_steps",), gains, {"return": "return"})

    def __init__(self, config: Config) -> None:
        self.config, self.report_every = config, config.report_every

    def initial_state(self) -> State:
        return {"meta": {"policy": {"count": torch.zeros(())}}}

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        if iteration == self.config.interrupted_at:
            raise KeyboardInterrupt
        if iteration == self.config.fails_at:
            raise FloatingPointError("task 3: the surrogate loss is nan.")
        value = self.config.returns[iteration]
        metrics = {
            "return_before": value - self.config.gain,
            "return_after": value,
            "adaptation_gain": self.config.gain + 0.01 * (iteration % 2),
            "env_steps": 10.0,
            "steps_per_s": 1.0,
            "sampling_s": 0.5,
        }
        return {"meta": {"policy": {"count": state["meta"]["policy"]["count"] + 1}}}, metrics

    def evaluate(
        self, states: Sequence[State], options: EvaluationOptions, progress: Progress | None = None
    ) -> Evaluation:
        return Evaluation(
            self.measure, np.full((2, 3), float(count(states[0]))), [{"number": task} for task in range(3)]
        )


def count(state: State) -> int:
    """How many iterations made the state."""
    return int(state["meta"]["policy"]["count"])


def new_run(path: Path, config: Config) -> TrainingRun:
    """A run of the counter from its beginning."""
    counter = System(config)
    folder = RunFolder.create(path, registered(__name__), counter)
    return TrainingRun(counter, folder, counter.initial_state())


def resumed_run(path: Path, config: Config) -> TrainingRun:
    """The run in a folder, to go on with another configuration."""
    return TrainingRun(System(config), RunFolder.open(path).with_config(config), None)
