"""Training on a package from elsewhere: what breaks in its environments is told, and finished iterations stay."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from maml_rl.run.evaluate import tasks_digest
from tests.run.script_runs import TRAIN, Captured, Script, checkpoint_of, evaluation_of, refusal

SMALL = ["--tasks", "2", "--episodes", "2"]


@pytest.mark.filterwarnings("ignore:.*NaN value")
@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "the reward is not a finite number"),
        ("raise", "the wall fell down"),
        ("again", "the second reset is one too many"),
    ],
)
def test_a_fault_of_an_environment_keeps_the_last_good_state(
    backend: str, fault: str, message: str, third_party: str, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", f"{third_party}:Corridor-v0", "--environment.arguments.fault", fault, *SMALL]
    assert script("train", [*argv, "--environment.backend", backend, "--output", str(run)]) == 1
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: iteration 0: ")
    assert message in last
    assert checkpoint_of(run)["iteration"] == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [("draw", "no tasks today"), ("few", "must return 2 tasks"), ("odd", "a task must be made of numbers")],
)
def test_tasks_that_cannot_be_drawn_are_told_before_any_work(
    fault: str, message: str, third_party: str, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", f"{third_party}:Corridor-v0", "--environment.arguments.fault", fault, *SMALL]
    assert script("train", [*argv, "--output", str(run)]) == 2
    error = refusal(capsys)
    assert message in error
    assert "check_env.py" in error
    assert not run.exists()


def test_tasks_made_of_numpys_numbers_are_evaluated_and_stored(
    third_party: str, tmp_path: Path, script: Script
) -> None:
    folder = tmp_path / "run"
    run = str(folder)
    argv = ["--environment.id", f"{third_party}:Corridor-v0", *SMALL, "--iterations", "1", "--output", run]
    assert script("train", argv) == 0
    assert script("evaluate", ["--run", run, "--tasks", "3", "--episodes", "2"]) == 0
    sides = np.load(folder / "evaluation.npz")["task_side"]
    assert set(sides) <= {-1, 1}
    assert evaluation_of(folder)["tasks"]["digest"] == tasks_digest([{"side": int(side)} for side in sides])


def test_an_asynchronous_run_survives_ctrl_c_and_a_dead_worker(third_party: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path / "elsewhere")}
    environment["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
    start = [*TRAIN, "--environment.id", f"{third_party}:Corridor-v0", "--tasks", "1", "--episodes", "2",
             "--environment.backend", "async", "--iterations", "100000"]  # fmt: skip
    for name, kill, code in (("a", None, 130), ("b", signal.SIGKILL, 1)):
        run = tmp_path / "run" / name
        process = subprocess.Popen(
            [*start, "--output", str(run)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if (run / "checkpoints/last.pt").exists() and checkpoint_of(run)["iteration"] > 1:
                break
        if kill is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        else:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[-1]), kill)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        wanted = "go on with --resume" if code == 130 else "worker process has died"
        assert wanted in output + errors, output + errors
        assert checkpoint_of(run)["iteration"] > 1
