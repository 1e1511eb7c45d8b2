"""Regression of sine waves of different amplitude and phase (Finn et al., 2017, section 5.1)."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maml_rl.supervised.losses import Problem
from maml_rl.supervised.task_distribution import Labelled, Split, TaskBatch

__all__ = ["Sinusoid"]

AMPLITUDES, PHASES, INPUTS = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)


class Sinusoid:
    """y = A sin(x - p), A ~ U[0.1, 5], p ~ U[0, pi], x ~ U[-5, 5].

    Args:
        oracle: appends A and p to every input, for the baseline that knows its task.
    """

    problem: Problem = "regression"
    outputs = 1

    def __init__(self, oracle: bool = False) -> None:
        self.oracle = oracle
        self.input_shape = (3,) if oracle else (1,)

    def sample(self, generator: np.random.Generator, tasks: int, support: int, query: int, split: Split) -> TaskBatch:
        """Every split has tasks of the same distribution; what keeps them apart is the generator."""
        amplitude = generator.uniform(*AMPLITUDES, (tasks, 1, 1))
        phase = generator.uniform(*PHASES, (tasks, 1, 1))
        inputs = generator.uniform(*INPUTS, (tasks, support + query, 1))
        examples = self.labelled(inputs, amplitude, phase)
        return TaskBatch(
            Labelled(examples.inputs[:, :support], examples.targets[:, :support]),
            Labelled(examples.inputs[:, support:], examples.targets[:, support:]),
            {"amplitude": amplitude[:, 0, 0], "phase": phase[:, 0, 0]},
        )

    def curves(self, parameters: dict[str, NDArray[Any]], points: int) -> tuple[NDArray[np.float64], Labelled]:
        """The true curves of tasks over the whole range: places [points], and the examples there."""
        places = np.linspace(*INPUTS, points)
        amplitude, phase = (parameters[name][:, None, None] for name in ("amplitude", "phase"))
        inputs = np.broadcast_to(places[None, :, None], (len(amplitude), points, 1)).copy()
        return places, self.labelled(inputs, amplitude, phase)

    def labelled(
        self, inputs: NDArray[np.float64], amplitude: NDArray[np.float64], phase: NDArray[np.float64]
    ) -> Labelled:
        """The true curves at `inputs` [N, E, 1], for amplitudes and phases [N, 1, 1]."""
        targets = amplitude * np.sin(inputs - phase)
        if self.oracle:
            known = [np.broadcast_to(value, inputs.shape) for value in (amplitude, phase)]
            inputs = np.concatenate([inputs, *known], -1)
        return Labelled(torch.from_numpy(inputs), torch.from_numpy(targets))
