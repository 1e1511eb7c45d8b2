#!/usr/bin/env python
"""Writes an adapted policy as a Stable-Baselines3 PPO model: python scripts/export.py --run RUN --output policy.zip."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maml_rl.run.cli import exit_code, refused_in_one_line, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.finished_run import open_run
from maml_rl.run.task_options import accepted_task, task_from_json


@dataclass(frozen=True)
class Options:
    """What to export.

    Attributes:
        run: the run folder.
        output: the zip file.
        task: the task to adapt to, as JSON; needed unless `steps` is 0.
        steps: gradient steps of adaptation; 0 exports the initialisation. 1 where nothing is given, of an oracle 0.
        checkpoint: "best" by training return, or the "last".
        episodes: for adapting, per gradient step; the run's own where nothing is given.
        seed: of the episodes that adapt.
        device: where to adapt; the run's own where nothing is given.
    """

    run: str
    output: str
    task: str | None = None
    steps: int | None = None
    checkpoint: Literal["best", "last"] = "best"
    episodes: int | None = None
    seed: int = 1000
    device: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("episodes", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        if Path(self.output).suffix.lower() != ".zip":
            raise ValueError(f"`output` must end in .zip, got {self.output!r}.")


def main(argv: Sequence[str]) -> int:
    """Adapts to the task with the run's own settings, and saves the model."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    task = None if options.task is None else task_from_json(options.task)
    with open_run(Path(options.run), options.checkpoint, {"device": options.device}) as opened:
        try:
            exporter = opened.system.exporter()
        except ValueError as error:
            raise UsageError(f"{options.run} cannot be exported: {error}") from error
        steps = exporter.default_steps if options.steps is None else options.steps
        if task is None and steps:
            raise UsageError(
                "`task` must say what to adapt to, such as '{\"velocity\": 1.5}'; or export with --steps 0."
            )
        if task is not None:
            accepted_task(exporter.environment, task).close()
        with refused_in_one_line():
            exported = exporter.export(opened.state, task, steps, options.episodes, options.seed)
        try:
            Path(options.output).parent.mkdir(parents=True, exist_ok=True)
            exported.model.save(options.output)
        except OSError as error:
            raise RunFault(f"{options.output} could not be written: {error.strerror or error}.") from error
    for step, value in enumerate(exported.returns):
        print(f"return after {step} gradient step{'' if step == 1 else 's'}: {value:.2f}")
    print(f"wrote {options.output}; to go on with it:")
    print("  from stable_baselines3 import PPO")
    print("  from stable_baselines3.common.vec_env import VecMonitor")
    print("  from maml_rl.rl.environments.vector import EnvironmentConfig, make_vector")
    print("  from maml_rl.sb3.vec_env import TaskVecEnv")
    print(f"  config = {exporter.environment!r}")
    print(f"  env = VecMonitor(TaskVecEnv(make_vector(config, 20), {json.loads(json.dumps(task))!r}))")
    print(f"  model = PPO.load({options.output!r}, env=env, n_steps={exported.horizon})")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
