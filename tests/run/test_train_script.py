"""scripts/train.py on reinforcement learning: what a run folder holds, resuming, interrupts and full disks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from maml_rl.run import checkpoint
from maml_rl.run.errors import RunFault
from tests.run.script_runs import (
    NAVIGATION,
    TRAIN,
    Captured,
    Script,
    checkpoint_of,
    rows_of,
    run_in_process_of_its_own,
    same,
)


def test_a_run_folder_holds_everything(navigation_run: Path) -> None:
    names = {str(path.relative_to(navigation_run)) for path in navigation_run.rglob("*") if path.is_file()}
    assert {"config.yaml", "versions.json", "metrics.json", "progress.csv"} <= names
    assert {"checkpoints/last.pt", "checkpoints/best.pt"} <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    versions = json.loads((navigation_run / "versions.json").read_text())
    assert versions["torch"] in (torch.__version__, torch.__version__.split("+")[0])
    assert json.loads((navigation_run / "metrics.json").read_text()) == {
        "system": "maml_trpo", "measure": "return", "higher_is_better": True, "label": "return", "digits": 2,
        "learning_curve": "return_after", "totals": ["env_steps"], "sums": [], "schedules": {},
        "tasks_name": "envs:Navigation2D-v0",
    }  # fmt: skip
    rows = rows_of(navigation_run)
    assert [row["iteration"] for row in rows] == [str(i) for i in range(6)]
    assert [float(row["env_steps"]) for row in rows] == [240 * (i + 1) for i in range(6)]
    # `best` is the state whose own return was highest: the one before that iteration's update.
    returns = [float(row["return_after"]) for row in rows]
    best = checkpoint_of(navigation_run, "best")
    assert best["iteration"] == int(np.argmax(returns))
    assert best["best"] == max(returns)
    assert checkpoint_of(navigation_run)["totals"] == {"env_steps": 1440.0}


def test_tensorboard_has_the_curves(navigation_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(navigation_run / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {
        "return/return_step_0", "return/return_step_1", "return/adaptation_gain", "meta_update/surrogate_before",
        "meta_update/surrogate_after", "meta_update/kl_before", "meta_update/kl_after", "meta_update/line_search_steps",
        "meta_update/line_search_rejected", "time/sampling_s", "time/adaptation_s", "time/meta_update_s",
        "run/steps_per_s",
    } <= tags  # fmt: skip
    assert [event.step for event in events.Scalars("return/return_step_1")] == list(range(6))


def test_a_resumed_run_equals_an_uninterrupted_one_bitwise(
    navigation_run: Path, tmp_path: Path, script: Script
) -> None:
    run = tmp_path / "run"
    assert script("train", [*NAVIGATION, "--output", str(run), "--iterations", "3"]) == 0
    # Traces of a fourth iteration that never reached its checkpoint.
    with (run / "progress.csv").open("a") as file:
        file.write("3,1,2,3\n4,half a ro")
    assert script("train", ["--output", str(run), "--resume", "--iterations", "6"]) == 0
    for which in ("last", "best"):
        assert same(checkpoint_of(run, which), checkpoint_of(navigation_run, which))
    assert rows_of(run) == rows_of(navigation_run)


def test_an_extended_run_remembers_its_new_end(tmp_path: Path, script: Script, capsys: Captured) -> None:
    run = tmp_path / "run"
    assert script("train", [*NAVIGATION, "--output", str(run), "--iterations", "1"]) == 0
    assert script("train", ["--output", str(run), "--resume", "--iterations", "2"]) == 0
    assert "iterations: 2" in (run / "config.yaml").read_text()
    capsys.readouterr()
    assert script("train", ["--output", str(run), "--resume"]) == 0
    assert "already has 2 iterations" in capsys.readouterr().out


def test_the_command_line_holds_wherever_the_file_stands(script: Script, capsys: Captured) -> None:
    printed = []
    for argv in (["--iterations", "7", *NAVIGATION], [*NAVIGATION, "--iterations", "7"]):
        with pytest.raises(SystemExit):
            script("train", [*argv, "--print_config"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "iterations: 7" in printed[0]


def test_help_explains_every_option(script: Script, capsys: Captured) -> None:
    for name in ("train", "evaluate", "render", "export", "sweep", "compare"):
        with pytest.raises(SystemExit) as ended:
            script(name, ["--help"])
        assert ended.value.code == 0
        assert "type:" in capsys.readouterr().out


def test_an_interrupt_ends_cleanly_and_the_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*TRAIN, *NAVIGATION, "--output", str(run), "--iterations", "100000"]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        before = checkpoint_of(run)["iteration"] if (run / "checkpoints/last.pt").exists() else 0
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if (run / "checkpoints/last.pt").exists() and checkpoint_of(run)["iteration"] > before + 1:
                break
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert "go on with --resume" in output + errors
        assert "Traceback" not in errors
        assert checkpoint_of(run)["iteration"] > before + 1
        command = [*TRAIN, "--output", str(run), "--resume"]


def test_a_full_disk_leaves_the_earlier_checkpoint_intact(
    tmp_path: Path, script: Script, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert script("train", [*NAVIGATION, "--output", str(run), "--iterations", "2"]) == 0
    before = (run / "checkpoints/last.pt").read_bytes()
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:  # the configuration and the curve still fit
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert script("train", ["--output", str(run), "--resume", "--iterations", "4"]) == 1
    assert len(calls) > 4
    errors = capsys.readouterr().err
    assert "No space left on device" in errors
    assert "intact" in errors
    monkeypatch.undo()
    assert (run / "checkpoints/last.pt").read_bytes() == before
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.pt", "last.pt"]
    assert script("train", ["--output", str(run), "--resume", "--iterations", "4"]) == 0
    with pytest.raises(RunFault, match="could not be written"):
        checkpoint.save(tmp_path / "nowhere" / "last.pt", {})


def test_a_disk_that_is_really_full_is_one_line(tmp_path: Path) -> None:
    """A limit on file sizes makes every further write fail, TensorBoard's included."""
    run = tmp_path / "run"
    assert run_in_process_of_its_own(*NAVIGATION, "--output", str(run), "--iterations", "2").returncode == 0
    before = (run / "checkpoints/last.pt").read_bytes()
    code = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    again = ["--output", str(run), "--resume", "--iterations"]
    limited = [sys.executable, "-c", code, TRAIN[1], *again, "50"]
    result = subprocess.run(limited, check=False, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "could not be" in errors[0]
    assert (run / "checkpoints/last.pt").read_bytes() == before
    assert len(rows_of(run)) == 2  # the curve so far is not lost
    assert run_in_process_of_its_own(*again, "3").returncode == 0
    assert len(rows_of(run)) == 3
