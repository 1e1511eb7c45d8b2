"""scripts/render.py and scripts/export.py: panes, tasks in rows, and environments that cannot be filmed."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from maml_rl.run.offscreen import draw_offscreen
from tests.run.script_runs import Captured, Script, refusal


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the ffmpeg reader
@pytest.mark.parametrize("ending", ["png", "gif", "mp4"])
def test_rendering_puts_panes_side_by_side(navigation_run: Path, tmp_path: Path, script: Script, ending: str) -> None:
    output = tmp_path / f"film.{ending}"
    argv = ["--run", str(navigation_run), "--steps", "0", "1", "3", "--task", '{"goal": [0.3, 0.2]}']
    assert script("render", [*argv, "--output", str(output)]) == 0
    frames = iio.imread(output)
    if ending == "png":
        assert frames.shape == (528, 3 * 480 + 8, 3)
    else:
        assert len(frames) == 11
        assert frames.shape[1:3] == (528, 3 * 480 + 8)
        assert frames[0].std() > 5
        assert not np.array_equal(frames[0], frames[-1])


def test_drawn_tasks_are_rows(navigation_run: Path, tmp_path: Path, script: Script) -> None:
    argv = ["--run", str(navigation_run), "--steps", "0", "1", "--tasks", "2", "--output", str(tmp_path / "paths.png")]
    assert script("render", argv) == 0
    assert iio.imread(tmp_path / "paths.png").shape == (2 * 528 + 4, 2 * 480 + 4, 3)


@pytest.mark.filterwarnings("ignore:.*render_mode")  # Gymnasium's own
@pytest.mark.parametrize("argv", [["--task", '{"side": 1}'], []])
def test_an_environment_without_pictures_is_refused_in_one_line(
    argv: list[str], third_party: str, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run, film = tmp_path / "run", tmp_path / "film.gif"
    small = ["--tasks", "2", "--episodes", "2", "--iterations", "1", "--output", str(run)]
    assert script("train", ["--environment.id", f"{third_party}:Corridor-v0", *small]) == 0
    capsys.readouterr()
    assert script("render", ["--run", str(run), "--output", str(film), *argv]) == 2
    reason = "its constructor has no argument 'render_mode'; it has fault."
    assert refusal(capsys) == f"error: environment '{third_party}:Corridor-v0' cannot be made: {reason}"
    assert not film.exists()


def _broken_camera(env: object) -> None:
    raise RuntimeError("the camera\nis broken")


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (lambda env: np.zeros((4, 4, 3)), "must return a picture [height, width, 3] of uint8, got float64 (4, 4, 3)"),
        (_broken_camera, "the environment failed while it was filmed: RuntimeError: the camera is broken"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*numpy array")  # Gymnasium's own
def test_a_camera_that_fails_is_told_in_one_line(
    camera: Callable[[object], object], message: str, navigation_run: Path, tmp_path: Path, script: Script,
    capsys: Captured, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("envs.single_env.SingleTaskEnv.render", camera)
    assert script("render", ["--run", str(navigation_run), "--output", str(tmp_path / "film.gif")]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_an_exported_policy_comes_with_its_returns_and_the_lines_that_load_it(
    navigation_run: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    output = tmp_path / "new" / "policy.zip"
    argv = ["--run", str(navigation_run), "--task", '{"goal": [0.3, 0.2]}', "--episodes", "2", "--output", str(output)]
    assert script("export", argv) == 0
    printed = capsys.readouterr().out
    assert "return after 0 gradient steps: " in printed
    assert "return after 1 gradient step: " in printed
    lines = printed[printed.index("  from stable_baselines3") :].splitlines()
    loaded: dict[str, object] = {}
    exec("\n".join(line.strip() for line in lines), loaded)
    assert "'goal': [0.3, 0.2]" in printed
    assert "model" in loaded


@pytest.mark.parametrize(
    ("platform", "display", "chosen", "expected"),
    [
        ("linux", None, None, "egl"),
        ("linux", None, "osmesa", "osmesa"),
        ("linux", ":0", None, None),
        ("darwin", None, None, None),
    ],
)
def test_without_a_screen_drawing_is_offscreen(
    platform: str, display: str | None, chosen: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in (("DISPLAY", display), ("MUJOCO_GL", chosen)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    draw_offscreen()
    assert os.environ.get("MUJOCO_GL") == expected
