"""Evaluations of policies on held-out tasks: returns after each step, successes, and what is known of the tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from maml_rl.rl.environments.task_env import HasReferenceReturns, Task
from maml_rl.rl.environments.vector import EnvironmentConfig, make_single
from maml_rl.rl.sampling.trajectories import Trajectories
from maml_rl.systems.evaluation import Evaluation, EvaluationOptions, Measure
from maml_rl.systems.inner import require_rates

__all__ = ["AdaptationOptions", "PolicyOptions", "returns_of"]


@dataclass(frozen=True)
class PolicyOptions(EvaluationOptions):
    """How a policy is evaluated.

    Attributes:
        steps: of adaptation, whatever training used; 3 where nothing is given, 0 of an oracle (`environment.show_task`
            without inner steps). Of a recurrent policy: episodes that it has seen before the last one.
        tasks: held-out tasks; 40 where nothing is given.
        episodes: per task and step.
    """

    episodes: int = 20

    @classmethod
    def least(cls) -> dict[str, int]:
        """The least value of each option that is a number."""
        return {**super().least(), "episodes": 1}


@dataclass(frozen=True)
class AdaptationOptions(PolicyOptions):
    """How a policy that adapts by gradient steps is evaluated.

    Attributes:
        learning_rates: of each step, the last one going on; the run's own where nothing is given.
    """

    learning_rates: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rates(None, self.learning_rates)


def returns_of(
    points: Sequence[Trajectories],
    tasks: Sequence[Task],
    measure: Measure,
    environment: EnvironmentConfig,
    horizon: int,
    axis: str,
    settings: Mapping[str, Any],
) -> Evaluation:
    """The evaluation that trajectories of K + 1 points are: returns [K + 1, N, E], and rates of success if any."""
    returns = np.stack([episodes.returns.cpu().numpy() for episodes in points]).astype(float)
    successes = [episodes.successes.cpu().numpy() for episodes in points if episodes.successes is not None]
    also = {"success": np.stack(successes).astype(float).mean(-1)} if len(successes) == len(points) else {}
    held_out = {"arguments": environment.arguments} if environment.arguments else {}
    return Evaluation(
        measure,
        returns,
        tasks,
        axis,
        f"{returns.shape[-1]} episodes each",
        {"environment": environment.id, **held_out, **settings},
        also,
        _references(environment, tasks, horizon),
    )


def _references(environment: EnvironmentConfig, tasks: Sequence[Task], horizon: int) -> dict[str, float]:
    """Means over the tasks of what the environment knows of each, such as the optimum."""
    env = make_single(environment)
    try:
        if not isinstance(env.unwrapped, HasReferenceReturns):
            return {}
        known = env.unwrapped
        each = [known.reference_returns(task, horizon) for task in tasks]
    except Exception as error:  # the evaluation is worth more than what it is held against
        tqdm.write(f"warning: reference_returns failed: {type(error).__name__}: {error}")
        return {}
    finally:
        env.close()
    return {name: float(np.mean([returns[name] for returns in each])) for name in each[0]}
