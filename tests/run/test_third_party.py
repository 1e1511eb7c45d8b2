"""A package from elsewhere, built and installed: its tasks are checked, trained, evaluated and filmed as they are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.run.packages import install
from tests.run.script_runs import ROOT

PACKAGE = ROOT / "docs/examples/arm_tasks"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is."""
    target = install(PACKAGE, tmp_path_factory.mktemp("third-party"))
    assert (target / "arm_tasks" / "arm.xml").is_file()
    return target


def _run(installed: Path, script: str, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)])}
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *argv]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=installed.parent, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_its_environment_is_checked_trained_evaluated_and_filmed(installed: Path, tmp_path: Path) -> None:
    told = _run(installed, "check_env", "--environment.id", "arm_tasks:Arm-v0").stdout
    assert told == "arm_tasks:Arm-v0 can be trained on.\n"
    run = str(tmp_path / "run")
    small = ["--tasks", "4", "--episodes", "5", "--iterations", "3", "--policy.hidden", "[16]", "--torch_threads", "1"]
    _run(installed, "train", "--environment.id", "arm_tasks:Arm-v0", "--output", run, *small)
    told = _run(installed, "evaluate", "--run", run, "--tasks", "3", "--episodes", "4", "--steps", "2").stdout
    assert "over 3 held-out tasks" in told
    picture = tmp_path / "arm.png"
    _run(installed, "render", "--run", run, "--steps", "0", "1", "--episodes", "3", "--output", str(picture))
    assert np.asarray(Image.open(picture)).std() > 10


def test_its_supervised_tasks_are_trained_and_evaluated(installed: Path, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    small = ["--iterations", "4", "--epoch", "2", "--report_every", "2", "--test.validation_tasks", "4"]
    _run(installed, "train", "--system", "maml", "--distribution.id", "arm_tasks.waves:Waves", "--output", run, *small)
    assert "over 5 held-out tasks" in _run(installed, "evaluate", "--run", run, "--tasks", "5").stdout


def test_the_example_is_as_short_as_the_page_says() -> None:
    lines = (PACKAGE / "arm_tasks/__init__.py").read_text().splitlines()
    assert sum(bool(line.strip()) and not line.strip().startswith('"""') for line in lines) <= 30
