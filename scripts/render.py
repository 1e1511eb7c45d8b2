#!/usr/bin/env python
"""Films adapted policies: python scripts/render.py --run runs/cheetah --steps 0 1 3 --output cheetah.mp4."""

import os
import sys

if "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY") and sys.platform == "linux":
    os.environ["MUJOCO_GL"] = "egl"  # before MuJoCo is imported: draw without a screen

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
from tqdm import tqdm

from maml_rl.rl.actors import Actor, Remembering, Steady
from maml_rl.rl.environments.task_env import Task
from maml_rl.run import render
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import UsageError
from maml_rl.run.finished_run import OpenedRun, open_run
from maml_rl.run.held_out import is_oracle
from maml_rl.run.task_options import accepted_task, task_from_json


@dataclass(frozen=True)
class Options:
    """What to film.

    Attributes:
        run: the run folder.
        output: an mp4 or gif film; png for each episode's last frame.
        steps: numbers of gradient steps, one pane each; where nothing is given 0, 1 and 3, and of an oracle 0 alone.
        task: a task as JSON; drawn ones where nothing is given.
        tasks: how many drawn tasks, one row each.
        checkpoint: "best" by training return, or the "last".
        episodes: for adapting, per gradient step; the run's own where nothing is given.
        seed: of the drawn tasks, of the episodes that adapt and of those that are filmed.
        device: where to adapt; the run's own where nothing is given.
        fps: frames per second of a film; the environment's own where nothing is given.
    """

    run: str
    output: str
    steps: list[int] | None = None
    task: str | None = None
    tasks: int = 1
    checkpoint: Literal["best", "last"] = "best"
    episodes: int | None = None
    seed: int = 1000
    device: str | None = None
    fps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and (not self.steps or min(self.steps) < 0):
            raise ValueError(f"`steps` must be numbers of at least 0, got {self.steps}.")
        if self.task is not None and self.tasks > 1:
            raise ValueError(f"`tasks` says how many to draw, which does not go with `task`, got {self.tasks}.")
        for name, least in (("tasks", 1), ("episodes", 1), ("seed", 0), ("fps", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")


def main(argv: Sequence[str]) -> int:
    """Adapts to each task with the run's own settings, and films one episode for each number of steps."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    output = Path(options.output)
    render.check_ending(output)
    task = None if options.task is None else task_from_json(options.task)
    with open_run(Path(options.run), options.checkpoint, options.device) as opened:
        if opened.system.kind != "reinforcement-learning":
            raise UsageError(f"{options.run} has no policy to film; scripts/evaluate.py draws what it predicts.")
        steps = options.steps or ([0] if is_oracle(opened.config) else [0, 1, 3])
        env = accepted_task(opened.system.config.environment, task, render_mode="rgb_array")
        try:
            rows = _film(opened, env, options, task, steps)
        finally:
            env.close()
    if output.suffix.lower() == ".png":
        render.picture(rows, output)
    else:
        render.film(rows, output, options.fps or int(env.metadata.get("render_fps", 20)))
    print(f"wrote {output}")
    return 0


def _film(
    opened: OpenedRun, env: gym.Env, options: Options, task: Task | None, steps: Sequence[int]
) -> list[list[render.Pane]]:
    rows, axis = [], getattr(opened.system, "axis", "gradient steps")
    last_only = Path(options.output).suffix.lower() == ".png"
    for each, actors in tqdm(_actors(opened, options, task, steps), desc="filming tasks", leave=False):
        panes = {step: render.record(env, actor, each, step, options.seed, last_only, axis) for step, actor in actors}
        rows.append([panes[step] for step in steps])
    return rows


def _actors(
    opened: OpenedRun, options: Options, task: Task | None, steps: Sequence[int]
) -> list[tuple[Task, list[tuple[int, Actor]]]]:
    """Each task, and who acts after `steps`; with a memory after all up to the last, for it must live through them."""
    system, last = opened.system, max(steps)
    count, chosen = (options.tasks, None) if task is None else (1, [task])
    if hasattr(system, "recurrent"):
        with system.held_out(options.seed, count, 1, chosen) as found:
            tasks = found.tasks
        trials = [Remembering(system.recurrent, opened.state["params"]) for _ in tasks]
        return [(each, [(step, actor) for step in range(last + 1)]) for each, actor in zip(tasks, trials, strict=True)]
    episodes = options.episodes or opened.config.episodes
    drawn, collected = system.evaluate(opened.state, last, options.seed, count, episodes, chosen=chosen)
    return [
        (
            each,
            [
                (step, Steady(system.policy, {name: leaf[index] for name, leaf in params.items()}))
                for step, params in enumerate(collected.path)
                if step in steps
            ],
        )
        for index, each in enumerate(drawn)
    ]


if __name__ == "__main__":
    sys.exit(exit_code(main))
