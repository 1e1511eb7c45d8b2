"""Supervised tasks: square waves of a width which the task chooses."""

import numpy as np
import torch

from maml_rl.supervised.task_distribution import Labelled, TaskBatch


class Waves:
    """y = sign(sin(w x)), w ~ U[1, 3]."""

    problem, input_shape, outputs = "regression", (1,), 1

    def sample(self, generator, tasks, support, query, split):
        speeds = generator.uniform(1, 3, size=(tasks, 1, 1))
        x = generator.uniform(-3, 3, size=(tasks, support + query, 1))
        x, y = torch.from_numpy(x), torch.from_numpy(np.sign(np.sin(speeds * x)))
        return TaskBatch(
            Labelled(x[:, :support], y[:, :support]),
            Labelled(x[:, support:], y[:, support:]),
            {"speed": speeds[:, 0, 0]},
        )
