"""Finished small runs that the tests of the scripts share; nobody changes them."""

from pathlib import Path

import pytest

from tests.run.script_runs import NAVIGATION, SINE, Script, run_in_process_of_its_own


@pytest.fixture(scope="session")
def navigation_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six iterations of 2D navigation."""
    run = tmp_path_factory.mktemp("navigation") / "run"
    result = run_in_process_of_its_own(*NAVIGATION, "--output", str(run), "--iterations", "6")
    assert result.returncode == 0, result.stderr
    assert "6/6" in result.stderr  # the progress bar
    assert "k steps/s" in result.stderr
    return run


@pytest.fixture(scope="session")
def sine_run(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Path:
    """Twelve iterations on sinusoids, three epochs, of which the two best states are kept."""
    run = tmp_path_factory.mktemp("sine") / "run"
    assert script("train", [*SINE, "--output", str(run), "--iterations", "12", "--test.keep", "2"]) == 0
    return run
