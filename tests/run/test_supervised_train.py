"""scripts/train.py on supervised tasks: epochs, schedules, what is kept, and data that are not the run's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maml_rl.systems.maml import System
from tests.run.script_runs import (
    CLASSES,
    SINE,
    Captured,
    Script,
    checkpoint_of,
    refusal,
    rows_of,
    same,
    write_classes,
)


def test_a_resumed_run_equals_one_that_never_stopped(sine_run: Path, tmp_path: Path, script: Script) -> None:
    run = tmp_path / "stopped"
    assert script("train", [*SINE, "--output", str(run), "--iterations", "6", "--test.keep", "2"]) == 0
    # Iteration 6 is the middle of an epoch: the run has been validated there because it ended.
    assert script("train", ["--output", str(run), "--resume", "--iterations", "12"]) == 0
    assert same(checkpoint_of(run)["state"], checkpoint_of(sine_run)["state"])
    assert rows_of(run) == rows_of(sine_run)
    assert [row["iteration"] for row in rows_of(run)] == ["1", "3", "5", "7", "9", "11"]


def test_an_end_within_an_epoch_leaves_no_trace_in_what_is_kept(tmp_path: Path, script: Script) -> None:
    for name, ends in (("straight", ["8"]), ("stopped", ["6", "8"])):
        for index, end in enumerate(ends):
            more = ["--resume"] if index else [*SINE, "--test.keep", "2"]
            assert script("train", [*more, "--output", str(tmp_path / name), "--iterations", end]) == 0
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert rows_of(straight) == rows_of(stopped)
    for which in ("last", "best"):
        assert same(checkpoint_of(straight, which), checkpoint_of(stopped, which))


def test_a_schedule_that_ends_with_the_run_keeps_its_length(tmp_path: Path, script: Script, capsys: Captured) -> None:
    run = ["--output", str(tmp_path / "run")]
    assert script("train", [*SINE, *run, "--iterations", "4", "--outer.final_learning_rate", "1e-5"]) == 0
    capsys.readouterr()
    assert script("train", [*run, "--resume", "--iterations", "8"]) == 2
    expected = "`outer.final_learning_rate` is reached after `iterations`, so the run keeps its 4, got 8."
    assert expected in refusal(capsys)


def test_fewer_iterations_than_there_are_are_refused(sine_run: Path, script: Script, capsys: Captured) -> None:
    assert script("train", ["--output", str(sine_run), "--resume", "--iterations", "7"]) == 2
    assert "has 12 iterations already, got --iterations 7" in refusal(capsys)
    assert "iterations: 12" in (sine_run / "config.yaml").read_text()


def test_a_fault_in_validation_is_one_line(
    tmp_path: Path, script: Script, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any) -> dict[str, float]:
        raise RuntimeError("no memory left.")

    monkeypatch.setattr(System, "validate", failing)
    assert script("train", [*SINE, "--output", str(tmp_path / "run"), "--iterations", "4"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error: validation after iteration 1: no memory left. The checkpoint `last` holds" in error
    assert "Traceback" not in error


def test_validation_chooses_what_is_kept(sine_run: Path) -> None:
    scores = {int(row["iteration"]) + 1: float(row["validation_score"]) for row in rows_of(sine_run)}
    scores = {iteration: score for iteration, score in scores.items() if not np.isnan(score)}
    assert sorted(scores) == [4, 8, 12]
    ranked = sorted(scores, key=lambda iteration: -scores[iteration])
    assert checkpoint_of(sine_run, "best")["iteration"] == ranked[0]
    kept = {path.stem for path in (sine_run / "checkpoints").glob("validated-*.pt")}
    assert kept == {f"validated-{iteration}" for iteration in ranked[:2]}


def test_validation_that_diverges_is_told_and_never_best(tmp_path: Path, script: Script, capsys: Captured) -> None:
    run = tmp_path / "run"
    argv = [*SINE, "--output", str(run), "--iterations", "4", "--test.steps", "60", "--inner.learning_rate", "9.0"]
    assert script("train", [*argv, "--outer.learning_rate", "1e-9", "--inner.mode", "first_order"]) == 0
    told = capsys.readouterr()
    assert "iteration 3: adaptation to validation tasks diverged" in told.out + told.err
    assert not (run / "checkpoints" / "best.pt").exists()


def test_a_loss_that_explodes_ends_the_run_and_keeps_the_last_state(
    tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run = tmp_path / "run"
    assert script("train", [*SINE, "--output", str(run), "--iterations", "8", "--inner.learning_rate", "1e30"]) == 1
    error = capsys.readouterr().err
    assert "iteration 0" in error or "iteration 1" in error
    assert "is not finite" in error
    params = checkpoint_of(run)["state"]["meta"]["network"]
    assert params
    assert all(bool(leaf.isfinite().all()) for leaf in params.values())


def test_options_without_effect_are_remarked_on(tmp_path: Path, script: Script, capsys: Captured) -> None:
    more = ["--network.norm", "none", "--inner.damping", "2", "--outer.annealing_epochs", "3", "--iterations", "1"]
    assert script("train", [*SINE, "--output", str(tmp_path / "run"), *more]) == 0
    told = capsys.readouterr().out
    assert "note: `network.norm` none has no effect with `network.id` 'mlp'." in told
    assert "note: `inner.damping` 2.0 has no effect with `inner.mode` 'unrolled'." in told
    assert "note: `outer.annealing_epochs` 3 has no effect with `outer.objective` 'final'." in told
    assert told.count("note:") == 3


def test_more_images_than_there_are_is_told_before_any_work(
    tmp_path: Path, script: Script, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    argv = [*CLASSES, "--output", str(run), "--data", str(write_classes(tmp_path / "classes")), "--query", "9"]
    assert script("train", [*argv, "--support", "10"]) == 2
    assert "10 + 9 images of each class are asked for, class train/class0 has 18" in capsys.readouterr().err
    assert not run.exists()
    assert script("train", [*argv, "--support", "9"]) == 0
    capsys.readouterr()
    assert script("evaluate", ["--run", str(run), "--support", "10", "--tasks", "2"]) == 2
    assert "10 + 9 images of each class are asked for" in refusal(capsys)


def test_other_classes_than_those_trained_on_are_refused(
    tmp_path: Path, script: Script, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
    run, data = tmp_path / "run", write_classes(tmp_path / "classes")
    argv = [*CLASSES, "--output", str(run), "--data", str(data), "--support", "1", "--query", "1"]
    assert script("train", argv) == 0
    moved = data.rename(tmp_path / "moved")
    assert script("evaluate", ["--run", str(run), "--tasks", "2", "--data", str(moved)]) == 0
    (moved / "train" / "class0").rename(moved / "test" / "class0")
    for name, more in (("train", ["--resume", "--output"]), ("evaluate", ["--tasks", "2", "--run"])):
        capsys.readouterr()
        assert script(name, [*more, str(run), "--data", str(moved)]) == 2
        assert "these are not the tasks that" in capsys.readouterr().err
