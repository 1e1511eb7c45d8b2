#!/usr/bin/env python
"""Return over gradient steps on held-out tasks: python scripts/evaluate.py --run runs/navigation --steps 3."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from maml_rl.run import evaluate
from maml_rl.run.checkpoint import fitted
from maml_rl.run.cli import build_system, exit_code, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.systems import SYSTEMS


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
    folder = RunFolder.open(Path(options.run))
    stored = folder.load(options.checkpoint)
    config = folder.config if options.device is None else dataclasses.replace(folder.config, device=options.device)
    # The training vector is not needed here: one environment is enough to know the spaces.
    system = build_system(SYSTEMS[folder.system][1], dataclasses.replace(config, tasks=1, episodes=1))
    try:
        state = fitted(stored["state"], system.initial_state(), folder.path)
        result = _evaluate(system, state, options, config, stored["iteration"])
    except UsageError:
        raise
    except (ArithmeticError, RuntimeError, ValueError) as error:
        raise RunFault(f"evaluation of iteration {stored['iteration']}: {error}") from error
    finally:
        system.close()
    paths = evaluate.write(result, Path(options.output or options.run))
    print(evaluate.table(result))
    print(f"checkpoint {options.checkpoint} (iteration {stored['iteration']}); wrote {', '.join(map(str, paths))}")
    return 0


def _evaluate(system: Any, state: dict[str, Any], options: Options, config: Any, iteration: int) -> evaluate.Evaluation:
    began = time.perf_counter()
    with tqdm(total=options.steps + 1, desc="gradient steps", leave=False) as bar:
        tasks, collected = system.evaluate(
            state,
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
        "environment": config.environment.id,
        "rates": options.rates or config.inner.rate,
        "iteration": iteration,
        "seconds": round(time.perf_counter() - began, 3),
    }
    return evaluate.Evaluation(returns.astype(float), tasks, settings)


if __name__ == "__main__":
    sys.exit(exit_code(main))
