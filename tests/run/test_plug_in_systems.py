"""A system of one's own, built and installed: it is trained, resumed, evaluated, compared and searched like ours."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from maml_rl.systems.registry import registered
from tests.run.packages import install
from tests.run.script_runs import ROOT, TRAIN, Captured, Script, checkpoint_of, evaluation_of, refusal, rows_of, same

PACKAGE = ROOT / "docs/examples/step_size"
TRAINING = ["--system", "step_size.system", "--tasks", "10"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed."""
    return install(PACKAGE, tmp_path_factory.mktemp("plug-in"))


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, found by imports."""
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "step_size"]:
        del sys.modules[name]


def test_it_is_trained_from_any_folder(site: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    argv = [*TRAIN, *TRAINING, "--iterations", "3", "--output", "run"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "training step_size.system on noisy quadratics to 3 iterations" in done.stdout
    assert "system: step_size.system" in (tmp_path / "run/config.yaml").read_text()


def test_it_learns_resumes_bitwise_and_is_evaluated_and_compared(
    installed: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert script("train", [*TRAINING, "--iterations", "60", "--output", str(whole)]) == 0
    assert script("train", [*TRAINING, "--iterations", "25", "--output", str(parts)]) == 0
    assert script("train", ["--resume", "--iterations", "60", "--output", str(parts)]) == 0
    for which in ("last", "best"):
        assert same(checkpoint_of(whole, which), checkpoint_of(parts, which))
    assert rows_of(whole) == rows_of(parts)
    losses = [float(row["loss_after"]) for row in rows_of(whole)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])

    evaluations = {}
    for name, run in (("trained", whole), ("other", parts)):
        output = ["--output", str(tmp_path / name)]
        assert script("evaluate", ["--run", str(run), "--steps", "4", "--tasks", "30", *output]) == 0
        evaluations[name] = evaluation_of(tmp_path / name)
        evaluations[name]["settings"].pop("seconds")
    assert evaluations["trained"] == evaluations["other"]
    assert evaluations["trained"]["measure"] == "loss"
    assert evaluations["trained"]["mean"][-1] < 0.5 * evaluations["trained"]["mean"][0]
    assert np.load(tmp_path / "trained/evaluation.npz")["task_curvature"].shape == (30,)
    assert "mean and 95% interval over 30 held-out tasks" in capsys.readouterr().out

    page = tmp_path / "page"
    assert script("compare", ["--runs", str(whole), str(parts), "--output", str(page)]) == 0
    assert "loss after" in (page / "index.html").read_text()
    assert {path.name for path in page.iterdir()} >= {"index.html", "learning.png"}


def test_its_options_are_searched(installed: Path, tmp_path: Path, script: Script) -> None:
    pytest.importorskip("optuna")
    base, search = tmp_path / "base.yaml", tmp_path / "search.yaml"
    base.write_text(yaml.safe_dump({"system": "step_size.system", "iterations": 10, "tasks": 5}))
    space = {"learning_rate": {"choice": [1e-6, 0.02]}}
    options = {"base": str(base), "sampler": "grid", "metric": "loss_after", "direction": "minimize", "window": 3}
    search.write_text(yaml.safe_dump({**options, "space": space}))
    assert script("sweep", ["--config", str(search), "--output", str(tmp_path / "sweep")]) == 0
    with (tmp_path / "sweep/sweep.csv").open(newline="") as file:
        losses = {float(row["learning_rate"]): float(row["value"]) for row in csv.DictReader(file)}
    assert losses[0.02] < losses[1e-6]
    assert yaml.safe_load((tmp_path / "sweep/best.yaml").read_text())["learning_rate"] == 0.02


def test_it_refuses_like_ours(installed: Path, tmp_path: Path, script: Script, capsys: Captured) -> None:
    run = tmp_path / "run"
    for more, message in (
        (["--learning_rate", "fast"], "`learning_rate` must be a number, got fast."),
        (["--inner.steps", "2"], "unrecognized arguments: --inner.steps 2"),
        (["--iterations", "-1"], "`iterations` must be at least 0"),
        (["--device", "tpu"], "`device` must be"),
    ):
        assert script("train", [*TRAINING, "--output", str(run), *more]) == 2
        assert message in refusal(capsys)
        assert not run.exists()
    assert script("train", [*TRAINING, "--iterations", "1", "--output", str(run)]) == 0
    capsys.readouterr()
    for name, more, message in (
        ("evaluate", ["--tasks", "0"], "`tasks` must be at least 1, got 0."),
        ("evaluate", ["--episodes", "3"], "unrecognized arguments: --episodes 3"),
        ("evaluate", ["--data", "here"], "`data` does not go with"),
        ("render", ["--output", "film.gif"], "has no policy to film"),
        ("export", ["--output", "policy.zip"], "has no policy to export"),
    ):
        assert script(name, ["--run", str(run), *more]) == 2
        assert message in refusal(capsys)


def test_it_computes_with_as_many_threads_as_are_asked_for(installed: Path) -> None:
    registration = registered("step_size.system")
    for threads in (2, 1):
        registration.make(registration.config(torch_threads=threads))
        assert torch.get_num_threads() == threads


def test_a_run_whose_system_is_gone_is_refused(tmp_path: Path, script: Script, capsys: Captured) -> None:
    (tmp_path / "config.yaml").write_text("system: no_longer_here.system\n")
    for name, argv in (("evaluate", ["--run"]), ("train", ["--resume", "--output"])):
        assert script(name, [*argv, str(tmp_path)]) == 2
        assert "system 'no_longer_here.system' cannot be imported: ModuleNotFoundError" in refusal(capsys)


IMPORTS = """
from dataclasses import dataclass
from maml_rl.systems import system
from maml_rl.systems.system import RunConfig
"""
CONFIG = "@dataclass(frozen=True)\nclass Config(RunConfig):\n    speed: float = 1.0\n"
SYSTEM = """
class System(system.System[Config, system.EvaluationOptions]):
    def __init__(self, config):
        self.config = config
    def iterate(self, state, iteration):
        return state, {}
    def evaluate(self, states, options, progress=None):
        return None
"""
WHOLE = SYSTEM + "    initial_state = dict\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("raise OSError('the disk\\nis gone')", "cannot be imported: OSError: the disk is gone"),
        ("import nothing_of_this_name", "cannot be imported: ModuleNotFoundError: No module named"),
        (IMPORTS, "must have a dataclass `Config` that extends RunConfig"),
        (IMPORTS + "Config = RunConfig(1)", "must have a dataclass `Config` that extends RunConfig"),
        (IMPORTS + CONFIG.replace("(RunConfig)", ""), "must have a dataclass `Config` that extends RunConfig"),
        (IMPORTS + CONFIG.replace("@dataclass(frozen=True)", ""), "must have a dataclass `Config` that extends"),
        (IMPORTS + CONFIG, "must have a class `System` that extends the System protocol"),
        (IMPORTS + CONFIG + SYSTEM, "`System` lacks initial_state."),
        (IMPORTS + CONFIG + WHOLE, "`System` lacks measure, roles, tasks_name."),
        (IMPORTS + CONFIG + "class System:\n    pass\n", "must have a class `System` that extends the System protocol"),
        (
            IMPORTS + CONFIG + WHOLE + "    Options = Config\n",
            "`Options` of `System` must be a dataclass that extends",
        ),
    ],
)
def test_what_is_no_system_is_one_line(
    content: str, message: str, tmp_path: Path, script: Script, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package/__init__.py").write_text("")
    (tmp_path / "own_package/attempt.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert script("train", ["--system", "own_package.attempt", "--output", str(tmp_path / "run")]) == 2
    finally:
        for name in ("own_package", "own_package.attempt"):
            sys.modules.pop(name, None)
    error = refusal(capsys)
    assert "system 'own_package.attempt'" in error
    assert message in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "magic",
            "there is no system 'magic'; there are learned_optimiser, maml, maml_trpo, meta_gradient, optimiser_search",
        ),
        (
            "nowhere.system",
            "system 'nowhere.system' cannot be imported: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("..system", "cannot be imported"),
    ],
)
def test_unknown_modules_are_one_line(
    name: str, message: str, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    assert script("train", ["--system", name, "--output", str(tmp_path / "run")]) == 2
    assert message in refusal(capsys)


def test_the_example_is_as_short_as_the_page_says() -> None:
    lines = (PACKAGE / "step_size/system.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 80
