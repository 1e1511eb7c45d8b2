"""What a system of one's own gets wrong is said in one line, before it costs a run."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.finished_run import open_run
from maml_rl.run.train import train
from maml_rl.run.training_run import training_run
from maml_rl.systems.evaluation import Evaluation, Measure
from maml_rl.systems.registry import registered
from tests.run.counter import Config, System, count, new_run

ROLES = System.roles


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (ROLES._replace(selection="scor"), r"`roles.selection` names 'scor', but training reports return_before"),
        (ROLES._replace(learning_curve="nope"), "`roles.learning_curve` names 'nope'"),
        (ROLES._replace(totals=("steps",)), "`roles.totals` names 'steps'"),
        (ROLES._replace(schedules={"rates": ("return_after", "rate")}), "`roles.schedules` names 'rate'"),
    ],
)
def test_roles_of_metrics_that_nobody_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: Any, message: str
) -> None:
    monkeypatch.setattr(System, "roles", roles)
    with pytest.raises(RunFault, match=message):
        train(new_run(tmp_path / "run", Config(iterations=2)))


@pytest.mark.parametrize(("name", "value"), [("measure", "loss"), ("roles", {"selection": "score"})])
def test_a_measure_or_roles_of_another_type(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    monkeypatch.setattr(System, name, value)
    with pytest.raises(ValueError, match=f"`{name}` of `System` must be a Me"):
        registered("tests.run.counter").make(Config())


def test_a_state_that_no_checkpoint_holds_is_refused_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(System, "initial_state", lambda self: {"n": np.zeros(3)})
    entered = training_run(registered("tests.run.counter"), Config(), tmp_path / "run", None)
    with pytest.raises(UsageError, match=r"`state\['n'\]` is a ndarray"), entered:
        pass
    assert not (tmp_path / "run").exists()


def test_a_metric_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(System, "iterate", lambda self, state, iteration: (state, {"return_after": "many"}))
    with pytest.raises(RunFault, match="iteration 0: the metric 'return_after' must be a number, got 'many'"):
        train(new_run(tmp_path / "run", Config(iterations=1)))


def test_iterations_are_timed_where_a_system_reports_no_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untimed = {"return_before": 0.0, "return_after": 1.0, "adaptation_gain": 1.0, "env_steps": 1.0, "steps_per_s": 1.0}
    monkeypatch.setattr(System, "iterate", lambda self, state, iteration: (state, untimed))
    run = new_run(tmp_path / "run", Config(iterations=2))
    assert train(run)
    with (run.folder.path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["iteration_s"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("values", "tasks", "message"),
    [
        (np.zeros((30, 6)), [{}] * 30, r"with N = 30 tasks, got \[30, 6\]"),
        (np.zeros(6), [{}] * 6, "must be a numpy array"),
        ([[1.0]], [{}], "must be a numpy array"),
        (np.zeros((2, 3)), [1, 2, 3], "`tasks` of an evaluation must be dictionaries"),
    ],
)
def test_evaluations_of_another_shape(values: Any, tasks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Evaluation(Measure("loss", False), values, tasks)


def test_training_closes_its_system_also_where_it_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(System, "close", lambda self: closed.append("closed"))
    registration = registered("tests.run.counter")
    with training_run(registration, Config(iterations=1), tmp_path / "whole", None) as run:
        assert train(run)
    assert closed == ["closed"]
    broken = training_run(registration, Config(iterations=1, fails_at=0), tmp_path / "broken", None)
    with pytest.raises(RunFault), broken as run:
        train(run)
    assert closed == ["closed"] * 2


def test_an_ensemble_takes_the_best_of_more_states_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(System, "keep", 3)
    config = Config(iterations=4, returns=[1.0, 7.0, 2.0, 5.0])
    run = new_run(tmp_path / "run", config)
    assert train(run)
    with open_run(tmp_path / "run", "best", states=2) as opened:
        assert [count(state) for state in opened.states] == [1, 3]  # before the iterations that returned 7 and 5
