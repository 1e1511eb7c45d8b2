"""Small runs of the scripts, and what the tests read from their folders."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [sys.executable, str(ROOT / "scripts/train.py")]
Script: TypeAlias = Callable[[str, list[str]], int]
Captured: TypeAlias = pytest.CaptureFixture[str]
NAVIGATION = ["--config", str(ROOT / "configs/maml_trpo/2d-navigation.yaml"), "--tasks", "3", "--episodes", "4",
              "--policy.hidden", "[8]", "--environment.arguments.horizon", "10"]  # fmt: skip
SINE = ["--config", str(ROOT / "configs/maml/sinusoid.yaml"), "--network.hidden", "[8]", "--tasks", "4",
        "--test.validation_tasks", "5", "--epoch", "4", "--report_every", "2"]  # fmt: skip
CLASSES = ["--system", "maml", "--tasks", "2", "--distribution.id", "class_folders", "--distribution.arguments",
           "{ways: 2, size: 28, channels: 1}", "--test.validation_tasks", "2", "--epoch", "1", "--report_every", "1",
           "--iterations", "1"]  # fmt: skip


def rows_of(run: Path) -> list[dict[str, str]]:
    """The rows of `progress.csv` without times."""
    with (run / "progress.csv").open(newline="") as file:
        return [{name: text for name, text in row.items() if not name.endswith("_s")} for row in csv.DictReader(file)]


def checkpoint_of(run: Path, which: str = "last") -> dict[str, Any]:
    """What a checkpoint holds."""
    return torch.load(run / "checkpoints" / f"{which}.pt", weights_only=True)


def evaluation_of(folder: Path) -> dict[str, Any]:
    """What `evaluation.json` says."""
    return json.loads((folder / "evaluation.json").read_text())


def same(first: Any, second: Any) -> bool:
    """Whether two trees of tensors and values are the same to the last bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def files_of(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(captured: Captured) -> str:
    """The one line that was written to standard error."""
    errors = captured.readouterr().err.strip()
    assert errors.startswith("error: ")
    assert "\n" not in errors
    return errors


def run_in_process_of_its_own(*argv: str) -> subprocess.CompletedProcess[str]:
    """Trains as a user does."""
    return subprocess.run([*TRAIN, *argv], check=False, capture_output=True, text=True)


def write_classes(folder: Path, classes: int = 18, size: int = 28) -> Path:
    """Random pictures in a folder for each class, a third of the classes in each split."""
    generator = np.random.default_rng(0)
    for index in range(classes):
        path = folder / ("train", "val", "test")[index % 3] / f"class{index}"
        path.mkdir(parents=True)
        for picture in range(18):
            pixels = generator.integers(0, 255, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path / f"{picture}.png")
    return folder
