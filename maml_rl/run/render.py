"""Films and pictures of adapted policies: panes side by side, one for each number of gradient steps."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from maml_rl.rl.environments.task_env import Task, task_env_of
from maml_rl.rl.sampling.actors import Player
from maml_rl.run.errors import RunFault, UsageError

__all__ = ["ENDINGS", "Pane", "check_ending", "film", "picture", "record"]

Frame = NDArray[np.uint8]
ENDINGS = (".mp4", ".gif", ".png")


class Pane(NamedTuple):
    """One episode as frames with a heading: gradient steps, task and return so far."""

    frames: list[Frame]
    total: float


def record(
    env: gym.Env,
    player: Player,
    task: Task,
    step: int,
    seed: int,
    last_only: bool = False,
    axis: str = "gradient steps",
) -> Pane:
    """Plays one episode with the most likely actions.

    Args:
        env: a single task environment with render mode "rgb_array".
        player: who acts.
        task: which task.
        step: the number in the heading.
        seed: of the episode.
        last_only: draws the episode's last frame only.
        axis: what `step` counts, in the plural.

    Raises:
        RunFault: the environment raised, or does not return pictures.
    """
    try:
        return _play(env, player, task, f"{step} {axis[:-1] if step == 1 else axis}", seed, last_only)
    except RunFault:
        raise
    except Exception as error:  # environments from elsewhere raise what they like
        reason = " ".join(str(error).split())
        raise RunFault(f"the environment failed while it was filmed: {type(error).__name__}: {reason}"[:400]) from error


def _play(env: gym.Env, player: Player, task: Task, heading: str, seed: int, last_only: bool) -> Pane:
    task_env_of(env).set_task(task)
    observation, _ = env.reset(seed=seed)
    player.begin_episode()
    frames, total, done = [] if last_only else [_headed(_frame(env), heading, task, 0.0)], 0.0, False
    while not done:
        action = player.act(np.asarray(observation))
        start = env.action_space.start if isinstance(env.action_space, gym.spaces.Discrete) else 0
        observation, reward, ended, cut, _ = env.step(action + start)
        player.see(float(reward))
        total, done = total + float(reward), ended or cut
        if done or not last_only:
            frames.append(_headed(_frame(env), heading, task, total))
    return Pane(frames, total)


def check_ending(path: Path) -> None:
    """Raises `UsageError` unless the file's ending is one that can be written here."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"the output must end in {', '.join(ENDINGS)}, got {path.name!r}.")
    if path.suffix.lower() == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            raise UsageError("mp4 needs the extra 'video' (pip install 'maml_rl[video]'); gif works without.") from None


def film(rows: Sequence[Sequence[Pane]], path: Path, frames_per_second: int) -> None:
    """Writes panes side by side, rows below each other, as mp4 or gif; a pane that has ended keeps its last frame.

    Raises:
        RunFault: the file cannot be written.
    """
    import imageio.v3 as iio

    length = max(len(pane.frames) for row in rows for pane in row)
    frames = [_sheet(rows, partial(_at, i)) for i in range(length)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".gif":
            iio.imwrite(path, np.stack(frames), duration=1000 / frames_per_second, loop=0)
        else:
            iio.imwrite(path, np.stack(frames), fps=frames_per_second, codec="libx264", macro_block_size=2)
    except OSError as error:
        raise RunFault(f"{path} could not be written: {error}") from error


def picture(rows: Sequence[Sequence[Pane]], path: Path) -> None:
    """Writes each pane's last frame as one picture.

    Raises:
        RunFault: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_sheet(rows, lambda pane: pane.frames[-1])).save(path)
    except OSError as error:
        raise RunFault(f"{path} could not be written: {error}") from error


def _at(index: int, pane: Pane) -> Frame:
    return pane.frames[min(index, len(pane.frames) - 1)]


def _sheet(rows: Sequence[Sequence[Pane]], frame: Callable[[Pane], Frame]) -> Frame:
    columns = [_joined([frame(pane) for pane in row], axis=1) for row in rows]
    sheet = _joined(columns, axis=0)
    return sheet[: len(sheet) // 2 * 2, : sheet.shape[1] // 2 * 2]  # video codecs want even sizes


def _joined(frames: list[Frame], axis: int, gap: int = 4) -> Frame:
    """Frames in a row or a column with a white gap between them."""
    widths = [(0, gap) if index == axis else (0, 0) for index in range(3)]
    spaced = [np.pad(frame, widths, constant_values=255) for frame in frames[:-1]]
    return np.concatenate([*spaced, frames[-1]], axis=axis)


def _frame(env: gym.Env) -> Frame:
    picture = np.asarray(env.render())
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise RunFault(
            "render() must return a picture [height, width, 3] of uint8, got "
            f"{picture.dtype} {picture.shape}: the environment cannot be filmed."
        )
    return picture


def _headed(frame: Frame, title: str, task: Task, total: float) -> Frame:
    """The frame below a band that says what is seen, the return so far and the task."""
    band = 48
    picture = Image.new("RGB", (frame.shape[1], frame.shape[0] + band), "#222222")
    picture.paste(Image.fromarray(frame), (0, band))
    draw = ImageDraw.Draw(picture)
    heading = f"{title}   return {total:.1f}"
    for text, top, color, size in ((heading, 4, "white", 18), (_short(task, 70), 27, "#bbbbbb", 14)):
        while size > 7 and draw.textlength(text, ImageFont.load_default(size)) > frame.shape[1] - 16:
            size -= 1  # noqa: PLW2901
        draw.text((8, top), text, color, ImageFont.load_default(size))
    return np.asarray(picture)


def _short(task: Task, most: int) -> str:
    """The task in at most so many letters."""

    def text(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return "(" + ", ".join(text(entry) for entry in value) + ")"
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    whole = "task: " + ", ".join(f"{name} {text(value)}" for name, value in task.items())
    return whole if len(whole) <= most else whole[: most - 3] + "..."
