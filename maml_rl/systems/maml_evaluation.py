"""Options of an evaluation of supervised meta-learning, and what its report says of how it was done."""

from dataclasses import dataclass
from typing import Any, Literal

from maml_rl.supervised.networks import architecture_of
from maml_rl.supervised.task_distribution import TaskBatch
from maml_rl.systems.evaluation import EvaluationOptions
from maml_rl.systems.inner import rates_used, require_rates
from maml_rl.systems.maml_config import Config

__all__ = ["MAMLOptions", "described_tasks", "protocol_of", "resolved", "settings_of"]

TASKS = 600
"""Held-out tasks where no number is given (Finn et al., 2017: 600 for images)."""


@dataclass(frozen=True)
class MAMLOptions(EvaluationOptions):
    """What to evaluate.

    Attributes:
        ensemble: averages the outputs of so many of the best states by validation.
        split: whose tasks; "validation" is what to choose learning rates by.
        support: examples to adapt on; as many as in training where nothing is given.
        learning_rates: of each step, the last one going on; the run's own where nothing is given.
    """

    ensemble: int = 1
    split: Literal["train", "validation", "test"] = "test"
    support: int | None = None
    learning_rates: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rates(None, self.learning_rates)

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "ensemble": 1, "support": 1}

    @property
    def states(self) -> int:
        """How many of the run's best states are evaluated together."""
        return self.ensemble


def resolved(options: MAMLOptions, config: Config) -> MAMLOptions:
    """The options with a configuration's values where nothing is given.

    Raises:
        ValueError: more learning rates than steps.
    """
    steps = config.test.steps if options.steps is None else options.steps
    rates = options.learning_rates
    require_rates(steps, rates)
    return MAMLOptions(
        steps=steps,
        tasks=options.tasks or TASKS,
        seed=options.seed,
        ensemble=options.ensemble,
        split=options.split,
        support=options.support or config.support,
        learning_rates=rates,
    )


def settings_of(config: Config, options: MAMLOptions, arguments: dict[str, Any]) -> dict[str, Any]:
    """How the evaluation was done: the distribution and its `arguments`, the network, and each step's learning rate."""
    return {
        "distribution": config.distribution.id,
        "arguments": arguments,
        **architecture_of(config.network.id).settings(config.network),
        "learning_rates": rates_used(config.inner, options.steps or 0, options.learning_rates),
    }


def protocol_of(config: Config, options: MAMLOptions, arguments: dict[str, Any], tasks: TaskBatch) -> str:
    """What a task's value is a mean of, and on which examples it was adapted."""
    notes = [f"{options.split} split"]
    if "protocol" in arguments:
        notes.append(f"protocol {arguments['protocol']}")
    settings = architecture_of(config.network.id).settings(config.network)
    if "norm" in settings:
        notes.append(f"{settings['norm']} batch norm")
    adapted, measured = tasks.support.inputs.shape[1], tasks.query.inputs.shape[1]
    return f"adapted on {adapted} examples each, measured on {measured} ({', '.join(notes)})"


def described_tasks(tasks: TaskBatch) -> list[dict[str, Any]]:
    """What is known of each of the N tasks, as plain values."""
    columns = {name: values.tolist() for name, values in tasks.parameters.items()}
    return [{name: values[task] for name, values in columns.items()} for task in range(len(tasks.query.inputs))]
