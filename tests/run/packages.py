"""Packages from elsewhere, built and installed without a network beside neither their sources nor this project."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def install(package: Path, folder: Path) -> Path:
    """Installs the package at a path into a folder below `folder`, which is returned."""
    pytest.importorskip("setuptools")
    source, target = Path(shutil.copytree(package, folder / "source")), folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--target", str(target), str(source)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target
