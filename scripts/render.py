#!/usr/bin/env python
"""Films adapted policies: python scripts/render.py --run runs/cheetah --steps 0 1 3 --output cheetah.mp4."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
from tqdm import tqdm

from maml_rl.rl.environments.task_env import Task
from maml_rl.run import render
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import UsageError
from maml_rl.run.finished_run import open_run
from maml_rl.run.offscreen import draw_offscreen
from maml_rl.run.task_options import accepted_task, task_from_json
from maml_rl.systems.system import Renderer, State


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
    draw_offscreen()
    task = None if options.task is None else task_from_json(options.task)
    with open_run(Path(options.run), options.checkpoint, {"device": options.device}) as opened:
        renderer = opened.system.renderer()
        if renderer is None:
            raise UsageError(f"{options.run} has no policy to film; scripts/evaluate.py draws how its tasks adapt.")
        env = accepted_task(renderer.environment, task, render_mode="rgb_array")
        try:
            rows = _film(renderer, opened.state, env, options, task)
        finally:
            env.close()
    if output.suffix.lower() == ".png":
        render.picture(rows, output)
    else:
        render.film(rows, output, options.fps or int(env.metadata.get("render_fps", 20)))
    print(f"wrote {output}")
    return 0


def _film(
    renderer: Renderer, state: State, env: gym.Env, options: Options, task: Task | None
) -> list[list[render.Pane]]:
    steps = options.steps or list(renderer.default_steps)
    tasks = options.tasks if task is None else [task]
    scenes = renderer.scenes(state, steps, tasks, options.episodes, options.seed)
    last_only, rows = Path(options.output).suffix.lower() == ".png", []
    for scene in tqdm(scenes, desc="filming tasks", leave=False):
        panes = {
            step: render.record(env, player, scene.task, step, options.seed, last_only, renderer.axis)
            for step, player in scene.players
        }
        rows.append([panes[step] for step in steps])
    return rows


if __name__ == "__main__":
    sys.exit(exit_code(main))
