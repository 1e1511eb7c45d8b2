#!/usr/bin/env python
"""Return over gradient steps on held-out tasks: python scripts/evaluate.py --run runs/navigation --steps 3."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from maml_rl.run import evaluate
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.opening import OpenedRun, open_run


@dataclass(frozen=True)
class Options:
    """What to evaluate.

    Attributes:
        run: the run folder.
        steps: inner gradient steps, whatever training used.
        tasks: held-out tasks.
        episodes: per task and step.
        checkpoint: "best" by training return, or the "last".
        rates: learning rate of each step, the last one going on; the run's own where nothing is given.
        seed: of the held-out tasks and their episodes, apart from anything that training draws.
        device: where to adapt; the run's own where nothing is given.
        output: where the files go; the run folder where nothing is given.
    """

    run: str
    steps: int = 3
    tasks: int = 40
    episodes: int = 20
    checkpoint: Literal["best", "last"] = "best"
    rates: list[float] | None = None
    seed: int = 1000
    device: str | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("tasks", 1), ("episodes", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}.")
        if self.rates is not None and not (self.rates and all(0 <= rate < float("inf") for rate in self.rates)):
            raise ValueError(f"`rates` must be one or more finite numbers of at least 0, got {self.rates}.")


def main(argv: Sequence[str]) -> int:
    """Evaluates a checkpoint, writes the files, prints the table."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    output = Path(options.output or options.run)
    with open_run(Path(options.run), options.checkpoint, options.device) as opened:
        evaluate.require_folder(output)
        result = _evaluate(opened, options)
    paths = evaluate.write(result, output)
    print(evaluate.table(result))
    print(f"checkpoint {options.checkpoint} (iteration {opened.iteration}); wrote {', '.join(map(str, paths))}")
    return 0


def _evaluate(opened: OpenedRun, options: Options) -> evaluate.Evaluation:
    began = time.perf_counter()
    with tqdm(total=options.steps + 1, desc="gradient steps", leave=False) as bar:
        tasks, collected = opened.system.evaluate(
            opened.state,
            options.steps,
            options.seed,
            options.tasks,
            options.episodes,
            options.rates,
            progress=bar.update,
        )
    returns = np.stack([trajectories.returns.cpu().numpy() for trajectories in collected.trajectories])
    settings = {
        **{name: value for name, value in dataclasses.asdict(options).items() if name not in ("output", "tasks")},
        "environment": opened.config.environment.id,
        "rates": opened.system.rates(options.steps, options.rates),
        "iteration": opened.iteration,
        "seconds": round(time.perf_counter() - began, 3),
    }
    return evaluate.Evaluation(returns.astype(float), tasks, settings)


if __name__ == "__main__":
    sys.exit(exit_code(main))
