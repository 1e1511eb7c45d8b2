#!/usr/bin/env python
"""Films adapted policies: python scripts/render.py --run runs/cheetah --steps 0 1 3 --output cheetah.mp4."""

import os
import sys

if "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY") and sys.platform == "linux":
    os.environ["MUJOCO_GL"] = "egl"  # before MuJoCo is imported: draw without a screen

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from maml_rl.rl.sampler import SimulationError
from maml_rl.rl.tasks import Task, TaskError
from maml_rl.rl.vector import make_single
from maml_rl.run import render
from maml_rl.run.checkpoint import fitted
from maml_rl.run.cli import build_system, exit_code, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.systems import SYSTEMS


@dataclass(frozen=True)
class Options:
    """What to film.

    Attributes:
        run: the run folder.
        output: an mp4 or gif film; png for each episode's last frame.
        steps: numbers of gradient steps, one pane each.
        task: a task as JSON; drawn ones where nothing is given.
        tasks: how many drawn tasks, one row each.
        checkpoint: "best" by training return, or the "last".
        episodes: for adapting, per gradient step; the run's own where nothing is given.
        seed: of the drawn tasks, of the episodes that adapt and of those that are filmed.
        fps: frames per second of a film; the environment's own where nothing is given.
    """

    run: str
    output: str
    steps: list[int] = dataclasses.field(default_factory=lambda: [0, 1, 3])
    task: str | None = None
    tasks: int = 1
    checkpoint: Literal["best", "last"] = "best"
    episodes: int | None = None
    seed: int = 1000
    fps: int | None = None

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 0:
            raise ValueError(f"`steps` must be numbers of at least 0, got {self.steps}.")
        for name, least in (("tasks", 1), ("episodes", 1), ("seed", 0), ("fps", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")


def main(argv: Sequence[str]) -> int:
    """Adapts to each task with the run's own settings, and films one episode for each number of steps."""
    options: Options = settings_of(Options, _joined(argv), __doc__ or "")
    output = Path(options.output)
    render.check_ending(output)
    folder = RunFolder.open(Path(options.run))
    stored = folder.load(options.checkpoint)
    tasks = None if options.task is None else [_task(options.task)]
    config = dataclasses.replace(folder.config, tasks=1, episodes=1)
    system = build_system(SYSTEMS[folder.system][1], config)
    try:
        state = fitted(stored["state"], system.initial_state(), folder.path)
        rows, fps = _film(system, state, options, folder.config, tasks)
    except (TaskError, ValueError) as error:
        raise UsageError(str(error)) from error
    except (ArithmeticError, SimulationError) as error:
        raise RunFault(str(error)) from error
    finally:
        system.close()
    if output.suffix.lower() == ".png":
        render.picture(rows, output)
    else:
        render.film(rows, output, options.fps or fps)
    print(f"wrote {output}")
    return 0


def _film(
    system: Any, state: dict[str, Any], options: Options, config: Any, tasks: list[Task] | None
) -> tuple[list[list[render.Pane]], int]:
    env = make_single(config.environment, render_mode="rgb_array")
    try:
        if tasks is not None:
            env.unwrapped.set_task(tasks[0])  # type: ignore[attr-defined]  # refuses a wrong task before any work
        count = 1 if tasks is not None else options.tasks
        episodes = options.episodes or config.episodes
        drawn, collected = system.evaluate(state, max(options.steps), options.seed, count, episodes, chosen=tasks)
        rows = []
        for index, task in enumerate(drawn):
            adapted = [{name: leaf[index] for name, leaf in params.items()} for params in collected.path]
            rows.append(
                [render.record(env, system.policy, adapted[step], task, step, options.seed) for step in options.steps]
            )
        return rows, int(env.metadata.get("render_fps", 20))
    finally:
        env.close()


def _task(text: str) -> Task:
    try:
        task = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"`task` must be JSON such as '{{\"velocity\": 1.5}}', got {text!r} ({error}).") from None
    if not isinstance(task, dict):
        raise UsageError(f"`task` must be a JSON object, got {text!r}.")
    return task


def _joined(argv: Sequence[str]) -> list[str]:
    """`--steps 0 1 3` as `--steps [0,1,3]`, and `--task JSON` as one argument that no YAML reader takes apart."""
    result: list[str] = []
    for argument in argv:
        if result and result[-1].startswith("--steps=[") and argument.lstrip("-").isdigit():
            result[-1] = f"{result[-1][:-1]},{argument}]".replace("[,", "[")
        elif argument == "--steps":
            result.append("--steps=[]")
        else:
            result.append(argument)
    return result


if __name__ == "__main__":
    sys.exit(exit_code(main))
