"""The training loop on a system that is nothing but a counter."""

import contextlib
import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.run.records import Records
from maml_rl.run.train import train
from maml_rl.systems.maml_trpo import Config


class Counter:
    """Its training return is a given list; its gain a given number."""

    selection_metric, keep = "return_after", 1

    def __init__(
        self,
        returns: list[float],
        gain: float = 1.0,
        fails_at: int | None = None,
        report_every: int = 1,
        interrupted_at: int | None = None,
    ) -> None:
        self.returns, self.gain, self.fails_at, self.report_every = returns, gain, fails_at, report_every
        self.interrupted_at = interrupted_at

    def initial_state(self) -> dict[str, Any]:
        return {"params": {"count": torch.zeros(())}}

    def validate(self, state: dict[str, Any], iteration: int) -> dict[str, float]:
        return {}

    def summary(self, metrics: dict[str, float]) -> str:
        return ""

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        if iteration == self.interrupted_at:
            raise KeyboardInterrupt
        if iteration == self.fails_at:
            raise FloatingPointError("task 3: the surrogate loss is nan.")
        value = self.returns[iteration]
        metrics = {
            "return_before": value - self.gain,
            "return_after": value,
            "return_step_1": value,
            "adaptation_gain": self.gain + 0.01 * (iteration % 2),
            "env_steps": 10.0,
            "steps_per_s": 1.0,
            "line_search_rejected": 0.0,
        }
        return {"params": {"count": state["params"]["count"] + 1}}, metrics

    def close(self) -> None:
        pass


def _folder(path: Path) -> RunFolder:
    return RunFolder.create(path / "run", "maml_trpo", Config(environment=EnvironmentConfig()))


def test_best_is_the_state_that_earned_its_return(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert train(Counter([1.0, 5.0, 2.0, 3.0]), folder, 4)
    best, last = folder.load("best"), folder.load("last")
    assert (best["iteration"], float(best["state"]["params"]["count"]), best["best"]) == (1, 1.0, 5.0)
    assert (last["iteration"], float(last["state"]["params"]["count"]), last["best"]) == (4, 4.0, 5.0)
    assert last["env_steps"] == 40.0


def test_a_fault_names_its_iteration_and_keeps_the_state_before_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    with pytest.raises(RunFault, match=r"iteration 2: task 3: the surrogate loss is nan\."):
        train(Counter([1.0] * 5, fails_at=2), folder, 5)
    assert folder.load("last")["iteration"] == 2
    assert train(Counter([1.0] * 5), folder, 5, resume=True)
    with (folder.path / "progress.csv").open() as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("gain", "warns"), [(0.0, True), (-1.0, True), (1.0, False)])
def test_a_gain_near_zero_is_said(tmp_path: Path, gain: float, warns: bool) -> None:
    said: list[str] = []
    train(Counter([-50.0] * 60, gain), _folder(tmp_path), 60, say=said.append)
    assert len(said) == (2 if warns else 0)  # once for each 25 iterations
    assert all("no better than before" in text for text in said)


def test_a_rows_that_cannot_be_written_are_a_fault_with_the_iteration(tmp_path: Path) -> None:
    records = Records(tmp_path, 0)
    (tmp_path / "progress.csv").mkdir()
    with pytest.raises(RunFault, match=r"iteration 7: .*progress\.csv could not be written"):
        records.write(7, {"return_after": 1.0})
    with contextlib.suppress(OSError):
        records.__exit__(None)


def test_a_folder_that_cannot_be_made_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        RunFolder.create(tmp_path / "file" / "run", "maml_trpo", Config())
    with pytest.raises(UsageError, match="exists"):
        RunFolder.require_free(tmp_path / "file")


@pytest.mark.parametrize("at", [2, 3, 5, 7])
def test_an_interrupt_within_a_row_loses_no_finished_iteration(tmp_path: Path, at: int) -> None:
    returns = [3.0, -1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0]
    whole, parts = _folder(tmp_path / "whole"), _folder(tmp_path / "parts")
    assert train(Counter(returns, report_every=4), whole, 8)
    assert not train(Counter(returns, report_every=4, interrupted_at=at), parts, 8)
    assert parts.load("last")["iteration"] == at
    assert train(Counter(returns, report_every=4), parts, 8, resume=True)
    assert (whole.path / "progress.csv").read_text() == (parts.path / "progress.csv").read_text()
    for which in ("last", "best"):
        assert str(whole.load(which)) == str(parts.load(which))


def test_a_fault_within_a_row_keeps_the_state_before_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    with pytest.raises(RunFault, match=r"iteration 6: task 3.* state before this iteration"):
        train(Counter([1.0] * 8, report_every=4, fails_at=6), folder, 8)
    assert folder.load("last")["iteration"] == 6
    assert float(folder.load("last")["state"]["params"]["count"]) == 6


def test_columns_that_a_record_lacks_are_added(tmp_path: Path) -> None:
    with Records(tmp_path, 0) as records:
        records.write(0, {"a": 1.0})
    with Records(tmp_path, 1) as records:
        records.write(1, {"a": 2.0, "b": 3.0})
    with (tmp_path / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"iteration": "0", "a": "1.0", "b": "nan"}, {"iteration": "1", "a": "2.0", "b": "3.0"}]
