#!/usr/bin/env python
"""Writes an adapted policy as a Stable-Baselines3 PPO model: python scripts/export.py --run RUN --output policy.zip."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maml_rl.rl.environments.vector import make_vector
from maml_rl.rl.policies import without_context
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.finished_run import OpenedRun, open_run
from maml_rl.run.held_out import is_oracle
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
    try:
        from maml_rl.sb3.policy import to_ppo
        from maml_rl.sb3.vec_env import TaskVecEnv
    except ImportError:
        raise UsageError("exporting needs the extra 'sb3': pip install 'maml_rl[sb3]'.") from None
    task = None if options.task is None else task_from_json(options.task)
    with open_run(Path(options.run), options.checkpoint, options.device) as opened:
        if opened.system.kind != "reinforcement-learning":
            raise UsageError(f"{options.run} has no policy to export.")
        if hasattr(opened.system, "recurrent"):
            raise UsageError(
                f"{options.run} is an rl2 run: rl2 policies are recurrent, and Stable-Baselines3's PPO has no policies "
                "with a memory."
            )
        steps = options.steps
        if steps is None:
            steps = 0 if is_oracle(opened.config) else 1
        if task is None and steps:
            raise UsageError(
                "`task` must say what to adapt to, such as '{\"velocity\": 1.5}'; or export with --steps 0."
            )
        if task is not None:
            accepted_task(opened.system.config.environment, task).close()
        params = _adapted(opened, options, task, steps)
        env = TaskVecEnv(make_vector(opened.system.config.environment, 1), task, options.seed)
        try:
            model = to_ppo(opened.config.policy, params, env)
        except ValueError as error:
            raise UsageError(str(error)) from error
        finally:
            env.close()
        try:
            Path(options.output).parent.mkdir(parents=True, exist_ok=True)
            model.save(options.output)
        except OSError as error:
            raise RunFault(f"{options.output} could not be written: {error.strerror or error}.") from error
    _tell(options, opened, task)
    return 0


def _adapted(opened: OpenedRun, options: Options, task: dict | None, steps: int) -> dict:
    if task is None:
        return without_context(opened.system.learner.begin(opened.state["params"])[0])
    episodes = options.episodes or opened.config.episodes
    _, collected = opened.system.evaluate(opened.state, steps, options.seed, 1, episodes, chosen=[task])
    for step, trajectories in enumerate(collected.trajectories):
        print(f"return after {step} gradient steps: {float(trajectories.returns.mean()):.2f} ({episodes} episodes)")
    return without_context({name: leaf[0] for name, leaf in collected.path[-1].items()})


def _tell(options: Options, opened: OpenedRun, task: dict | None) -> None:
    environment = opened.system.config.environment
    print(f"wrote {options.output}; to go on with it:")
    print("  from stable_baselines3 import PPO")
    print("  from stable_baselines3.common.vec_env import VecMonitor")
    print("  from maml_rl.rl.environments.vector import EnvironmentConfig, make_vector")
    print("  from maml_rl.sb3.vec_env import TaskVecEnv")
    print(f"  config = {environment!r}")
    print(f"  env = VecMonitor(TaskVecEnv(make_vector(config, 20), {json.loads(json.dumps(task))!r}))")
    print(f"  model = PPO.load({options.output!r}, env=env, n_steps={opened.system.sampler.horizon})")


if __name__ == "__main__":
    sys.exit(exit_code(main))
