"""Runs side by side: what is read, what is drawn, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maml_rl.run.compare import read_adaptation, read_learning, read_progress, seconds_by_part

Script = Callable[[str, list[str]], int]


def _evaluation(folder: Path, means: list[float], measure: str = "error", tasks: int = 2) -> Path:
    folder.mkdir(parents=True)
    content = {
        f"{measure}_mean": means,
        f"{measure}_interval95": [0.1] * len(means),
        "tasks": [{"phase": task} for task in range(tasks)],
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def _progress(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "progress.csv").write_text(text)
    return folder


SUPERVISED = "iteration,meta_loss,drawing_s,iteration_s,validation_error\n9,1,.1,2,nan\n19,1,.1,3,0.5\n"
RETURNS = "iteration,return_after,sampling_s,meta_update_s,steps_per_s\n0,-5,20,40,999\n1,-4,30,90,999\n"


def test_time_is_the_sum_over_iterations(tmp_path: Path) -> None:
    curve = read_learning(_progress(tmp_path / "a", SUPERVISED), "a")
    assert curve is not None
    # Ten iterations of 2 s and ten of 3 s; drawing is a part of an iteration.
    np.testing.assert_allclose(curve.minutes, [50 / 60])
    assert (curve.measure, curve.iterations.tolist(), curve.values.tolist()) == ("validation error", [20], [0.5])
    curve = read_learning(_progress(tmp_path / "b", RETURNS), "b")
    assert curve is not None
    np.testing.assert_allclose(curve.minutes, [1, 3])
    assert (curve.measure, curve.values.tolist()) == ("return after", [-5, -4])


@pytest.mark.parametrize("half", ["2,-3,30", "2,-3,30,9", "2,-3,30,90,99", "2"])
def test_a_half_written_row_is_left_out(tmp_path: Path, half: str) -> None:
    folder = _progress(tmp_path / "a", RETURNS + half)
    curve, progress = read_learning(folder, "a"), read_progress(folder)
    assert curve is not None
    assert progress is not None
    assert curve.values.tolist() == [-5, -4]
    assert progress.half_written


def test_parts_of_the_time_do_not_overlap(tmp_path: Path) -> None:
    progress = read_progress(
        _progress(tmp_path / "a", SUPERVISED.replace("error", "s"))
    )  # validation took half a second
    assert progress is not None
    parts = seconds_by_part(progress.rows)
    assert parts == pytest.approx({"drawing": 0.1, "rest of the iteration": 2.4, "validation": 0.5 / 20})
    progress = read_progress(_progress(tmp_path / "b", RETURNS))
    assert progress is not None
    assert seconds_by_part(progress.rows) == {"sampling": 25.0, "meta update": 65.0}


def test_a_single_tasks_interval_is_unknown(tmp_path: Path) -> None:
    folder = _evaluation(tmp_path / "a", [2.0])
    content = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**content, "error_interval95": [None]}))
    found = read_adaptation(folder, "a")
    assert found is not None
    assert np.isnan(found.intervals).all()


def test_pictures_and_a_table(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    first = _evaluation(tmp_path / "x" / "5-shot", [4.0, 2.0, 1.0])
    second = _evaluation(tmp_path / "y" / "5-shot", [3.0])
    third = _progress(tmp_path / "z", SUPERVISED)
    (third / "config.yaml").write_text("system: maml\n")
    output = tmp_path / "out"
    assert (
        script("compare", ["--runs", str(first), str(second), str(third), "--output", str(output), "--log", "true"])
        == 0
    )
    told = capsys.readouterr()
    assert "x/5-shot: error after gradient steps 0: 4.0000 +- 0.1000, 1: 2.0000" in told.out
    assert "tmp" not in told.out.split("wrote")[0]
    assert "20 iterations, 0.8 minutes" in told.out
    assert told.err == ""
    for name in ("learning.png", "adaptation.png"):
        with Image.open(output / name) as image:
            assert np.asarray(image).std() > 1


def test_different_tasks_are_told(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(_evaluation(tmp_path / str(tasks), [1.0, 0.5], tasks=tasks)) for tasks in (2, 3)]
    assert script("compare", ["--runs", *runs, "--output", str(tmp_path / "out")]) == 0
    assert "warning: the evaluations are of different tasks." in capsys.readouterr().err


def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    error, accuracy = _evaluation(tmp_path / "a", [1.0]), _evaluation(tmp_path / "b", [1.0], "accuracy")
    damaged = _progress(tmp_path / "c", "iteration,return_after\nx,y\n")
    empty = tmp_path / "d"
    empty.mkdir()
    cases: list[tuple[list[Path], list[str], str]] = [
        ([error, accuracy], [], "they measure different things: error in a, accuracy in b"),
        ([empty], [], "has neither a learning curve in progress.csv nor an evaluation.json"),
        ([damaged, empty], [], "progress.csv is damaged"),
        ([error, tmp_path / "nowhere"], [], "there is no folder"),
        ([error], ["--labels", "p", "q"], "`labels` must be as many as `runs`, got 2 for 1"),
        ([], [], "runs"),
    ]
    for runs, more, message in cases:
        argv = ["--runs", *map(str, runs), *more, "--output", str(tmp_path / "out")]
        assert script("compare", argv) == 2
        told = capsys.readouterr().err.strip()
        assert message in told
        assert "\n" not in told
    assert not (tmp_path / "out").exists()
