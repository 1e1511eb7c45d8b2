"""What learned hyper-parameters are worth to learners that begin anew on held-out tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from maml_rl.core.types import Memory, Meta
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.online.lives import Lives
from maml_rl.rl.sampling.seeds import StepSeeds
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Measure, Progress, mean_of_finite
from maml_rl.systems.meta_gradient_metrics import Columns

__all__ = ["LifetimeOptions", "evaluation_of", "segments"]

_WINDOW = 10  # rollouts between two measurements


@dataclass(frozen=True)
class LifetimeOptions(EvaluationOptions):
    """How hyper-parameters are evaluated: learners begin anew with those that the run has learned, which stay.

    Attributes:
        steps: segments of a lifetime behind the first one; 10 where nothing is given.
        tasks: held-out tasks, on each of which a learner begins for every lifetime of the run; 5 where nothing is
            given.
        updates: of a segment; each measures their mean.
    """

    updates: int = 100

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "updates": 1}


def segments(
    lives: Lives,
    theta: Meta,
    memory: Memory,
    seeds: Callable[[int], StepSeeds],
    measure: Callable[[Tensor, Memory], Tensor],
    options: LifetimeOptions,
    progress: Progress | None,
) -> np.ndarray:
    """Means over each segment of what is measured in each lifetime, [K + 1, N].

    A learner that diverges has no number (nan) in that segment and from there on.

    Args:
        lives: N lifetimes that have not begun.
        theta: their hyper-parameters, which stay.
        memory: where the learners stand.
        seeds: ``seeds(window)`` are those of a window's rollouts.
        measure: ``measure(rewards [N, ...], carry)`` of a window, [N].
        options: resolved ones.
        progress: called after each segment.
    """
    environments, window, values = "", 0, []
    alive = torch.ones(len(lives.tasks), dtype=torch.bool)
    count = (options.steps or 0) + 1
    for segment in range(count):
        sums, left = torch.zeros(len(lives.tasks), dtype=torch.float64), options.updates
        while left:
            rollouts = min(_WINDOW, left)
            lived, environments = lives.window(theta, memory, environments, seeds(window), rollouts)
            window += 1
            memory, finite = lives.collector.lived_on(theta, memory, lived)
            alive &= finite.cpu()
            sums += rollouts * measure(lived.data.rewards, memory["carry"]).double().cpu()
            left -= rollouts
        values.append(torch.where(alive, sums / options.updates, torch.nan).numpy())
        if progress is not None:
            progress(segment + 1, count)
    return np.stack(values)


def evaluation_of(
    values: np.ndarray, tasks: Sequence[Task], measure: Measure, columns: Columns, done: Mapping[str, object]
) -> Evaluation:
    """The evaluation of values [K + 1, N], all tasks under the run's first lifetime, then under the next.

    Learners that diverged are named.

    Args:
        values: see `segments`.
        tasks: those of one lifetime.
        measure: what the values are.
        columns: what settings and lifetimes are called. Several settings have columns of their own.
        done: how it was done.
    """
    settings = columns.settings
    for index in np.isnan(values[-1]).nonzero()[0].tolist():
        lifetime, task = divmod(index, len(tasks))
        segment = int(np.isnan(values[:, index]).argmax())
        learner = f"a learner with the hyper-parameters of {columns.called(lifetime)}"
        tqdm.write(
            f"warning: segment {segment}: {learner} diverged on task {tasks[task]}; it is left out from there on."
        )
    repeated = values.reshape(len(values), -1, len(tasks)).transpose(0, 2, 1)
    lifetimes = repeated.shape[-1]
    parts = np.split(repeated, len(settings), -1) if len(settings) > 1 else []
    also = {name: mean_of_finite(part) for name, part in zip(settings, parts, strict=False)}
    learned = f"{lifetimes} learned lifetime{'s' * (lifetimes > 1)} each, segments of {done['updates']} updates"
    return Evaluation(measure, repeated, list(tasks), "segments", learned, done, also)
