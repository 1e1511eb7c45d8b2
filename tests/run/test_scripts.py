"""The scripts as a user runs them: train, resume, evaluate, render, and every kind of bad input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl.run import checkpoint
from maml_rl.run.errors import RunFault

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str, list[str]], int]
SMALL = ["--tasks", "3", "--episodes", "4", "--policy.hidden", "[8]", "--torch_threads", "1",
         "--environment.arguments.horizon", "10"]  # fmt: skip
NAVIGATION = ["--config", str(ROOT / "configs/maml_trpo/2d-navigation.yaml"), *SMALL]


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in rows]


def _state(run: Path, which: str = "last") -> dict[str, Any]:
    return torch.load(run / "checkpoints" / f"{which}.pt", weights_only=True)


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    params, others = first["state"]["params"], second["state"]["params"]
    return all(torch.equal(params[name], others[name]) for name in params)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small run of six iterations."""
    run = tmp_path_factory.mktemp("trained") / "run"
    command = [sys.executable, str(ROOT / "scripts/train.py"), *NAVIGATION, "--output", str(run), "--iterations", "6"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "6/6" in result.stderr  # the progress bar
    assert "k steps/s" in result.stderr
    return run


def test_a_run_folder_holds_everything(trained: Path) -> None:
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert {"config.yaml", "versions.json", "progress.csv", "checkpoints/last.pt", "checkpoints/best.pt"} <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    versions = json.loads((trained / "versions.json").read_text())
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"] == torch.__version__
    rows = _rows(trained)
    assert [row["iteration"] for row in rows] == [str(i) for i in range(6)]
    assert int(float(rows[-1]["env_steps"])) > int(float(rows[0]["env_steps"]))
    # `best` is the state whose own return was highest: the one before that iteration's update.
    returns = [float(row["return_after"]) for row in rows]
    best = _state(trained, "best")
    assert best["iteration"] == int(np.argmax(returns))
    assert best["best"] == max(returns)


def test_tensorboard_has_the_curves(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {
        "return/return_step_0", "return/return_step_1", "return/adaptation_gain", "meta_update/surrogate_before",
        "meta_update/surrogate_after", "meta_update/kl_before", "meta_update/kl_after", "meta_update/line_search_steps",
        "meta_update/line_search_rejected", "time/sampling_s", "time/adaptation_s", "time/meta_update_s",
        "time/steps_per_s",
    } <= tags  # fmt: skip
    assert [event.step for event in events.Scalars("return/return_step_1")] == list(range(6))


def test_a_resumed_run_equals_an_uninterrupted_one_bitwise(trained: Path, tmp_path: Path, script: Script) -> None:
    run = tmp_path / "run"
    assert script("train", [*NAVIGATION, "--output", str(run), "--iterations", "3"]) == 0
    # Traces of a fourth iteration that never reached its checkpoint.
    with (run / "progress.csv").open("a") as file:
        file.write("3,1,2,3\n4,half a ro")
    assert script("train", ["--output", str(run), "--resume", "--iterations", "6"]) == 0
    assert _same(_state(run), _state(trained))
    assert _same(_state(run, "best"), _state(trained, "best"))
    assert _rows(run) == _rows(trained)


def test_an_interrupt_ends_cleanly_and_the_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(ROOT / "scripts/train.py"),
        *NAVIGATION,
        "--output",
        str(run),
        "--iterations",
        "100000",
    ]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        before = _state(run)["iteration"] if (run / "checkpoints/last.pt").exists() else 0
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if (run / "checkpoints/last.pt").exists() and _state(run)["iteration"] > before + 1:
                break
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert "go on with --resume" in output + errors
        assert "Traceback" not in errors
        assert _state(run)["iteration"] > before + 1
        command = [sys.executable, str(ROOT / "scripts/train.py"), "--output", str(run), "--resume"]


def test_evaluation_writes_its_files_and_prints_the_table(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--run", str(trained), "--tasks", "5", "--episodes", "3", "--output", str(tmp_path)]
    before = (trained / "checkpoints/last.pt").read_bytes()
    assert script("evaluate", [*base, "--steps", "4", "--checkpoint", "last"]) == 0
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "evaluation.json").read_text())
    arrays = np.load(tmp_path / "evaluation.npz")
    assert arrays["returns"].shape == (5, 5, 3)
    assert arrays["task_goal"].shape == (5, 2)
    assert len(summary["return_mean"]) == 5
    assert summary["tasks"][0]["goal"] == arrays["task_goal"][0].tolist()
    per_task = arrays["returns"].mean(-1)
    np.testing.assert_allclose(summary["return_mean"], per_task.mean(-1))
    np.testing.assert_allclose(summary["return_interval95"], 1.96 * per_task.std(-1, ddof=1) / 5**0.5)
    for step in range(5):
        assert f"{step}  " in printed
        assert f"{summary['return_mean'][step]:.2f} +-" in printed
    assert (tmp_path / "adaptation.png").stat().st_size > 5000
    assert (trained / "checkpoints/last.pt").read_bytes() == before


def test_evaluation_halves_the_rate_unless_told_otherwise(trained: Path, tmp_path: Path, script: Script) -> None:
    results = {}
    for name, extra in {"own": [], "same": ["--rates", "[0.1, 0.05]"], "other": ["--rates", "[0.1, 0.1]"]}.items():
        argv = [
            "--run",
            str(trained),
            "--tasks",
            "3",
            "--episodes",
            "3",
            "--steps",
            "3",
            "--output",
            str(tmp_path / name),
        ]
        assert script("evaluate", [*argv, *extra]) == 0
        results[name] = np.load(tmp_path / name / "evaluation.npz")["returns"]
    assert np.array_equal(results["own"], results["same"])
    assert np.array_equal(results["own"][:2], results["other"][:2])
    assert not np.array_equal(results["own"][2], results["other"][2])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the ffmpeg reader
@pytest.mark.parametrize("ending", ["png", "gif", "mp4"])
def test_rendering_puts_panes_side_by_side(trained: Path, tmp_path: Path, script: Script, ending: str) -> None:
    import imageio.v3 as iio

    output = tmp_path / f"film.{ending}"
    argv = ["--run", str(trained), "--steps", "0", "1", "3", "--task", '{"goal": [0.3, 0.2]}', "--output", str(output)]
    assert script("render", argv) == 0
    frames = iio.imread(output)
    if ending == "png":
        assert frames.shape == (528, 3 * 480 + 8, 3)
    else:
        assert len(frames) == 11
        assert frames.shape[1:3] == (528, 3 * 480 + 8)
        assert frames[0].std() > 5
        assert not np.array_equal(frames[0], frames[-1])


def test_drawn_tasks_are_rows(trained: Path, tmp_path: Path, script: Script) -> None:
    import imageio.v3 as iio

    argv = ["--run", str(trained), "--steps", "0", "1", "--tasks", "2", "--output", str(tmp_path / "paths.png")]
    assert script("render", argv) == 0
    assert iio.imread(tmp_path / "paths.png").shape == (2 * 528 + 4, 2 * 480 + 4, 3)


BAD_TRAINING = [
    (["--nonsense", "3"], "nonsense"),
    (["--inner.stepz", "3"], "inner.stepz"),
    (["--tasks", "many"], "`tasks` must be a whole number, got many."),
    (["--inner.rate", "[a]"], "`inner.rate` must be a number or a list of numbers, got"),
    (["--environment.max_episode_steps", "x"], "must be a whole number or null, got x."),
    (["--environment.show_task", "3"], "must be true or false, got 3."),
    (["--inner.adapts", "5"], "must be 'all' or 'head' or 'context' or a list of words, got 5."),
    (["--tasks", "0"], "`tasks` must be at least 1, got 0"),
    (["--episodes", "0"], "`episodes` must be at least 1, got 0"),
    (["--inner.mode", "second_order"], "`inner.mode` must be 'unrolled' or 'first_order', got second_order."),
    (["--inner.steps", "0", "--outer.objective", "uniform"], "`outer.objective` does not go with `inner.steps`"),
    (["--config", "nowhere.yaml"], "nowhere.yaml"),
    (["--environment.id", "envs:Nothing-v0"], "envs:Nothing-v0"),
    (["--environment.id", "nothing:Nothing-v0"], "nothing"),
    (["--environment.id", "CartPole-v1"], "CartPole-v1"),
    (["--environment.arguments.horizon", "-3"], "`horizon` must be a whole number"),
    (["--environment.arguments.gaol", "1"], "gaol"),
    (["--device", "tpu"], "`device`"),
    (["--device", "mps"], "`device`"),
    (["--environment.max_episode_steps", "0"], "max_episode_steps"),
    (["--environment.max_episode_steps", "11"], "between 1 and the horizon 10, got 11"),
    (["--environment.arguments.max_episode_steps", "4"], "cannot hold max_episode_steps"),
    (["--environment.arguments.horizon", "5.5"], "whole number"),
    (["--outer.objective", "[0.0, 0.0]"], "sum to 1"),
    (["--system", "magic"], "magic"),
    (["--system", "promp", "--config", "configs/maml_trpo/2d-navigation.yaml"], "`--system` says promp."),
    (["--inner.rate", "-1"], "`inner.rate`: learning rates must be"),
    (["--estimator.gae_lambda", "2"], "`estimator.gae_lambda` must be between 0 and 1"),
    (["--policy.initial_std", "0"], "`policy.initial_std` must be positive"),
]


@pytest.mark.parametrize(("extra", "message"), BAD_TRAINING, ids=lambda value: str(value)[:40])
def test_bad_options_are_one_line_and_exit_code_2_before_any_work(
    extra: list[str], message: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    argv = [*NAVIGATION, "--output", str(run), *extra]
    if extra[1] == "CartPole-v1":
        argv += ["--environment.arguments", "{}"]
    assert script("train", argv) == 2
    errors = capsys.readouterr().err.strip()
    assert errors.startswith("error: ")
    assert "\n" not in errors
    assert message in errors
    assert not run.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tasks: [1", "not YAML"),
        ("inner:\n  stepz: 3\n", "stepz"),
        ("tasks: many\n", "tasks"),
        ("- 1\n- 2\n", "names and values"),
        ("system: magic\n", "magic"),
        ("system: [a]\n", "there is no system"),
        ("policy: 3\n", "'policy' must hold names and values"),
        ("inner:\n", "'inner' must hold names and values"),
        ("environment:\n  arguments:\n", "'environment.arguments' must hold"),
        ("environment:\n  arguments: {max_step: big}\n", "`max_step` must be a positive number"),
        ("outer: {max_kl: .inf}\n", "outer.max_kl"),
    ],
)
def test_bad_files_are_one_line_and_exit_code_2(
    content: str, message: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    assert script("train", ["--config", str(tmp_path / "bad.yaml"), "--output", str(tmp_path / "run")]) == 2
    errors = capsys.readouterr().err.strip()
    assert "\n" not in errors
    assert message in errors
    assert not (tmp_path / "run").exists()


def test_folders_that_are_not_free_or_not_runs_are_refused(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    for name, argv, message in (
        ("train", [*NAVIGATION, "--output", str(trained)], "exists"),
        ("train", NAVIGATION, "--output"),
        ("train", ["--output", str(tmp_path), "--resume"], "not a run folder"),
        ("train", ["--output", str(trained), "--resume", "--seed", "9"], "this would change: seed"),
        ("evaluate", ["--run", str(tmp_path)], "not a run folder"),
        ("evaluate", ["--run", str(trained), "--tasks", "0"], "`tasks` must be at least 1"),
        ("evaluate", ["--run", str(trained), "--rates", "[-1]"], "`rates`"),
        ("evaluate", ["--run", str(trained), "--checkpoint", "worst"], "checkpoint"),
        ("render", ["--run", str(trained), "--output", "film.avi"], ".mp4"),
        ("render", ["--run", str(trained), "--output", "film.gif", "--task", "{goal"], "JSON"),
        ("render", ["--run", str(trained), "--output", "film.gif", "--task", "3"], "JSON object"),
        ("render", ["--run", str(trained), "--output", "film.gif", "--task", '{"speed": 1}'], "goal"),
        ("render", ["--run", str(trained), "--output", "film.gif", "--task", '{"goal": [9, 9]}'], "must be within"),
        ("render", ["--run", str(trained), "--output", "film.gif", "--steps", "-1"], "`steps`"),
    ):
        assert script(name, argv) == 2, argv
        errors = capsys.readouterr().err.strip()
        assert message in errors
        assert "\n" not in errors
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"not a checkpoint", "damaged"),
        ({"weights": 1}, "lacks the mark"),
        ({"format": checkpoint.FORMAT, "system": "other"}, "system 'other'"),
        ({"format": checkpoint.FORMAT, "system": "maml_trpo", "state": {}}, "lacks iteration"),
        (None, "there is no checkpoint"),
        ("truncated", "damaged"),
    ],
)
def test_corrupt_and_foreign_checkpoints_are_refused(
    content: Any, message: str, trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    path = run / "checkpoints/last.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        torch.save(content, path)
    elif content == "truncated":
        path.write_bytes((trained / "checkpoints/last.pt").read_bytes()[:-200])
    for name, argv in (
        ("train", ["--output", str(run), "--resume"]),
        ("evaluate", ["--run", str(run), "--checkpoint", "last"]),
        ("render", ["--run", str(run), "--checkpoint", "last", "--output", "film.gif"]),
    ):
        assert script(name, argv) == 2
        assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text((trained / "config.yaml").read_text().replace("hidden: [8]", "hidden: [9]"))
    for which in ("last", "best"):
        (run / f"checkpoints/{which}.pt").write_bytes((trained / f"checkpoints/{which}.pt").read_bytes())
    for name, argv in (
        ("train", ["--output", str(run), "--resume"]),
        ("evaluate", ["--run", str(run)]),
        ("render", ["--run", str(run), "--output", str(tmp_path / "film.gif")]),
    ):
        assert script(name, argv) == 2
        assert "does not fit" in capsys.readouterr().err


def test_a_full_disk_leaves_the_earlier_checkpoint_intact(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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


def test_an_extended_run_remembers_its_new_end(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert script("train", [*NAVIGATION, "--output", str(run), "--iterations", "1"]) == 0
    assert script("train", ["--output", str(run), "--resume", "--iterations", "2"]) == 0
    assert "iterations: 2" in (run / "config.yaml").read_text()
    capsys.readouterr()
    assert script("train", ["--output", str(run), "--resume"]) == 0
    assert "already has 2 iterations" in capsys.readouterr().out


def test_a_disk_that_is_really_full_is_one_line(tmp_path: Path) -> None:
    """A limit on file sizes makes every further write fail, TensorBoard's included."""
    run = tmp_path / "run"
    command = [sys.executable, str(ROOT / "scripts/train.py"), *NAVIGATION, "--output", str(run), "--iterations"]
    assert subprocess.run([*command, "2"], check=False, capture_output=True).returncode == 0
    before = (run / "checkpoints/last.pt").read_bytes()
    code = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    again = [sys.executable, "-c", code, str(ROOT / "scripts/train.py"), "--output", str(run), "--resume"]
    result = subprocess.run([*again, "--iterations", "50"], check=False, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "could not be" in errors[0]
    assert (run / "checkpoints/last.pt").read_bytes() == before
    assert len(_rows(run)) == 2  # the curve so far is not lost
    assert subprocess.run([*again[:1], *again[3:], "--iterations", "3"], check=False).returncode == 0
    assert len(_rows(run)) == 3


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
    backend: str,
    fault: str,
    message: str,
    third_party: str,
    tmp_path: Path,
    script: Script,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", f"{third_party}:Corridor-v0", "--environment.arguments.fault", fault, "--tasks", "2",
            "--episodes", "2", "--torch_threads", "1", "--environment.backend", backend,
            "--output", str(run)]  # fmt: skip
    assert script("train", argv) == 1
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: iteration 0: ")
    assert message in last
    assert _state(run)["iteration"] == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [("draw", "no tasks today"), ("few", "must return 2 tasks"), ("odd", "a task must be made of numbers")],
)
def test_tasks_that_cannot_be_drawn_are_told_before_any_work(
    fault: str, message: str, third_party: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", f"{third_party}:Corridor-v0", "--environment.arguments.fault", fault, "--tasks", "2"]
    assert script("train", [*argv, "--episodes", "2", "--output", str(run)]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "check_env.py" in error
    assert "\n" not in error
    assert not run.exists()


def test_tasks_made_of_numpys_numbers_are_evaluated_and_stored(
    third_party: str, tmp_path: Path, script: Script
) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", f"{third_party}:Corridor-v0", "--tasks", "2", "--episodes", "2", "--iterations", "1",
            "--torch_threads", "1", "--output", str(run)]  # fmt: skip
    assert script("train", argv) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "3", "--episodes", "2"]) == 0
    sides = [task["side"] for task in json.loads((run / "evaluation.json").read_text())["tasks"]]
    assert np.load(run / "evaluation.npz")["task_side"].tolist() == sides


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str], script: Script) -> None:
    for name in ("train", "evaluate", "render"):
        with pytest.raises(SystemExit) as ended:
            script(name, ["--help"])
        assert ended.value.code == 0
        assert "type:" in capsys.readouterr().out


def test_the_command_line_holds_wherever_the_file_stands(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for argv in (["--iterations", "7", *NAVIGATION], [*NAVIGATION, "--iterations", "7"]):
        with pytest.raises(SystemExit):
            script("train", [*argv, "--print_config"])
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert "iterations: 7" in found[0]


def test_a_run_of_no_iterations_holds_the_initial_policy_and_an_oracle_takes_no_steps(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    argv = [*NAVIGATION, "--iterations", "0", "--inner.steps", "0", "--environment.show_task", "true", "--output", run]
    assert script("train", argv) == 0
    assert "the run holds the initial state" in capsys.readouterr().out
    assert script("evaluate", ["--run", run, "--tasks", "2", "--episodes", "2"]) == 0
    assert np.load(tmp_path / "run" / "evaluation.npz")["returns"].shape == (1, 2, 2)
    assert script("evaluate", ["--run", run, "--tasks", "2", "--episodes", "2", "--steps", "1"]) == 0
    assert np.load(tmp_path / "run" / "evaluation.npz")["returns"].shape == (2, 2, 2)
    assert script("render", ["--run", run, "--task", "{}", "--tasks", "2", "--output", str(tmp_path / "no.png")]) == 2
    assert "does not go with `task`" in capsys.readouterr().err
    assert script("export", ["--run", run, "--output", str(tmp_path / "policy.zip")]) == 0  # of no steps, so of no task
    widths = []
    for name, more in (("one", []), ("three", ["--steps", "0", "1", "3"])):
        assert script("render", ["--run", run, "--output", str(tmp_path / f"{name}.png"), *more]) == 0
        with Image.open(tmp_path / f"{name}.png") as picture:
            widths.append(picture.width)
    assert widths[1] > 2 * widths[0]


PRESETS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize(
    "path",
    [path for path in PRESETS if path.parent.name in ("maml_trpo", "promp", "reptile", "rl2")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_every_preset_trains_and_evaluates(path: Path, tmp_path: Path, script: Script) -> None:
    if path.stem.startswith("meta-world"):
        pytest.importorskip("metaworld", reason="needs metaworld in an environment of its own: make test-metaworld")
    run = tmp_path / "run"
    small = ["--tasks", "2", "--episodes", "2", "--iterations", "1", "--torch_threads", "1",
             "--environment.arguments.horizon", "5"]  # fmt: skip
    assert script("train", ["--config", str(path), "--output", str(run), *small]) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "2", "--episodes", "2", "--steps", "2"]) == 0


def test_an_asynchronous_run_survives_ctrl_c_and_a_dead_worker(third_party: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path / "elsewhere")}
    start = [sys.executable, str(ROOT / "scripts/train.py"), "--environment.id", f"{third_party}:Corridor-v0",
             "--tasks", "1", "--episodes", "2", "--torch_threads", "1", "--environment.backend", "async",
             "--iterations", "100000"]  # fmt: skip
    for name, kill, code in (("a", None, 130), ("b", signal.SIGKILL, 1)):
        process = subprocess.Popen(
            [*start, "--output", str(run / name)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.2)
            path = run / name / "checkpoints/last.pt"
            if path.exists() and _state(run / name)["iteration"] > 1:
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
        assert _state(run / name)["iteration"] > 1


@pytest.mark.parametrize("argv", [["--task", '{"wrong": 1}'], []])
def test_filming_an_environment_that_cannot_be_filmed_is_one_line(
    argv: list[str], third_party: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = ["--tasks", "2", "--episodes", "2", "--iterations", "1", "--torch_threads", "1", "--output", str(run)]
    assert script("train", ["--environment.id", f"{third_party}:Corridor-v0", *small]) == 0
    capsys.readouterr()
    assert script("render", ["--run", str(run), "--output", str(tmp_path / "film.gif"), *argv]) in (1, 2)
    errors = capsys.readouterr().err.strip()
    assert errors.startswith("error: ")
    assert "\n" not in errors
    assert not (tmp_path / "film.gif").exists()


def test_references_stand_beside_what_was_reached(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    argv = ["--config", str(ROOT / "configs/maml_trpo/bandit-k5-n10.yaml"), "--output", str(run), "--tasks", "4"]
    assert script("train", [*argv, "--episodes", "3", "--iterations", "1", "--torch_threads", "1"]) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "5", "--episodes", "2", "--steps", "1"]) == 0
    told = capsys.readouterr().out
    found = json.loads((run / "evaluation.json").read_text())
    chances = np.array([task["chances"] for task in found["tasks"]])
    assert found["references"]["optimal"] == pytest.approx(10 * chances.max(1).mean())
    assert found["references"]["random"] == pytest.approx(10 * chances.mean())
    assert f"optimal  {found['references']['optimal']:20.2f}" in told
    short = tmp_path / "short"
    argv = [*argv[:2], "--environment.max_episode_steps", "4", "--output", str(short), "--tasks", "2"]
    assert script("train", [*argv, "--episodes", "2", "--iterations", "1"]) == 0
    assert script("evaluate", ["--run", str(short), "--tasks", "5", "--episodes", "2", "--steps", "1"]) == 0
    found = json.loads((short / "evaluation.json").read_text())
    chances = np.array([task["chances"] for task in found["tasks"]])
    assert found["references"]["optimal"] == pytest.approx(4 * chances.max(1).mean())


def test_held_out_arguments_are_those_of_evaluation_only(
    third_party: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", "envs:Navigation2D-v0", "--environment.arguments", "{goal_range: 0.2, horizon: 10}",
            "--environment.held_out", "{goal_range: 3.0}", "--output", str(run), "--tasks", "6", "--episodes", "2",
            "--iterations", "1", "--torch_threads", "1"]  # fmt: skip
    assert script("train", argv) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "20", "--episodes", "2", "--steps", "1"]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert max(abs(entry) for task in found["tasks"] for entry in task["goal"]) > 1
    assert found["held_out"] == {"goal_range": 3.0}
    assert float(_rows(run)[0]["return_step_0"]) > -6
    picture = str(tmp_path / "far.png")
    assert script("render", ["--run", str(run), "--task", '{"goal": [2.0, 2.0]}', "--output", picture]) == 0
    capsys.readouterr()
    assert script("train", ["--environment.held_out", "{num_envs: 3}", "--output", str(tmp_path / "other")]) == 2
    assert "cannot hold num_envs" in capsys.readouterr().err
    other = ["--output", str(tmp_path / "other"), "--tasks", "2", "--episodes", "2", "--iterations", "1"]
    assert script("train", ["--environment.held_out", "{gaol_range: 3.0}", *other]) == 2
    assert "gaol_range" in capsys.readouterr().err
    bandits = ["--environment.id", "envs:Bandit-v0", "--environment.held_out", "{arms: 3}"]
    assert script("train", [*bandits, *other]) == 2
    assert "gives other observations or actions than training" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
