"""The training loop on a system that is nothing but a counter."""

import contextlib
import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.run.records import Records
from maml_rl.run.train import train
from maml_rl.systems.registry import registered
from tests.run.counter import Config, System, count, new_run, resumed_run


def _constant(iterations: int, **changes: float | None) -> Config:
    return replace(Config(iterations=iterations, returns=[-50.0] * iterations), **changes)  # type: ignore[arg-type]


def test_an_iteration_without_a_score_is_never_the_best_and_hides_no_later_one(tmp_path: Path) -> None:
    config = Config(returns=[1.0, math.nan, 0.1, 0.2], iterations=4)
    run = new_run(tmp_path / "run", config)
    train(run)
    best = run.folder.load("best")
    assert (best["iteration"], count(best["state"]), best["best"]) == (0, 0, 1.0)


def test_best_is_the_state_that_earned_its_return(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", Config(iterations=4, returns=[1.0, 5.0, 2.0, 3.0]))
    assert train(run)
    best, last = run.folder.load("best"), run.folder.load("last")
    assert (best["iteration"], count(best["state"]), best["best"]) == (1, 1, 5.0)
    assert (last["iteration"], count(last["state"]), last["best"]) == (4, 4, 5.0)
    assert last["totals"] == {"env_steps": 40.0}
    with (run.folder.path / "progress.csv").open() as file:
        assert [row["env_steps"] for row in csv.DictReader(file)] == ["10.0", "20.0", "30.0", "40.0"]


def test_a_fault_names_its_iteration_and_keeps_the_state_before_it(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", _constant(5, fails_at=2))
    with pytest.raises(RunFault, match=r"iteration 2: task 3: the surrogate loss is nan\."):
        train(run)
    assert run.folder.load("last")["iteration"] == 2
    assert train(resumed_run(tmp_path / "run", _constant(5)))
    with (run.folder.path / "progress.csv").open() as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("gain", "warns"), [(0.0, True), (-1.0, True), (1.0, False)])
def test_a_gain_near_zero_is_said(tmp_path: Path, gain: float, warns: bool) -> None:
    said: list[str] = []
    train(new_run(tmp_path / "run", _constant(60, gain=gain)), say=said.append)
    assert len(said) == (2 if warns else 0)  # once for each 25 iterations
    assert all("no better than before" in text for text in said)


def test_no_gain_is_watched_where_nothing_adapts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(System, "roles", System.roles._replace(gain=None))
    said: list[str] = []
    train(new_run(tmp_path / "run", _constant(30, gain=0.0)), say=said.append)
    assert not said


def test_a_row_that_cannot_be_written_is_a_fault_with_the_iteration(tmp_path: Path) -> None:
    records = Records(tmp_path, 0, {})
    (tmp_path / "progress.csv").mkdir()
    with pytest.raises(RunFault, match=r"iteration 7: .*progress\.csv could not be written"):
        records.write(7, {"return_after": 1.0})
    with contextlib.suppress(OSError):
        records.__exit__(None)


def test_a_folder_that_cannot_be_made_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        RunFolder.create(tmp_path / "file" / "run", registered("tests.run.counter"), System(Config()))
    with pytest.raises(UsageError, match="exists"):
        RunFolder.require_free(tmp_path / "file")


@pytest.mark.parametrize("at", [2, 3, 5, 7])
def test_an_interrupt_within_a_row_loses_no_finished_iteration(tmp_path: Path, at: int) -> None:
    config = Config(iterations=8, returns=[3.0, -1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0], report_every=4)
    whole, parts = new_run(tmp_path / "whole", config), new_run(tmp_path / "parts", replace(config, interrupted_at=at))
    assert train(whole)
    assert not train(parts)
    assert parts.folder.load("last")["iteration"] == at
    assert whole.folder.load("last")["totals"] == {"env_steps": 80.0}
    assert train(resumed_run(tmp_path / "parts", config))
    assert (tmp_path / "whole/progress.csv").read_text() == (tmp_path / "parts/progress.csv").read_text()
    for which in ("last", "best"):
        assert str(whole.folder.load(which)) == str(parts.folder.load(which))


def test_a_fault_within_a_row_keeps_the_state_before_it(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", _constant(8, report_every=4, fails_at=6))
    with pytest.raises(RunFault, match=r"iteration 6: task 3.* state before this iteration"):
        train(run)
    last = run.folder.load("last")
    assert (last["iteration"], count(last["state"])) == (6, 6)


def test_columns_that_a_record_lacks_are_added(tmp_path: Path) -> None:
    with Records(tmp_path, 0, {}) as records:
        records.write(0, {"a": 1.0})
    with Records(tmp_path, 1, {}) as records:
        records.write(1, {"a": 2.0, "b": 3.0})
    with (tmp_path / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"iteration": "0", "a": "1.0", "b": "nan"}, {"iteration": "1", "a": "2.0", "b": "3.0"}]
