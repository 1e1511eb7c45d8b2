"""Sweeps as a user runs them: every point, the same end after any interrupt, failures and bad input each in a line."""

import csv
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from maml_rl.run.errors import RunFault
from maml_rl.run.folder import RunFolder
from maml_rl.run.records import Records
from maml_rl.run.sweep import runs, search, trial_results
from maml_rl.run.sweep.configurations import configured
from maml_rl.run.sweep.options import Options
from maml_rl.run.sweep.study import alone
from tests.run.script_runs import ROOT, Captured, Script, refusal

pytest.importorskip("optuna")

TINY = {"tasks": 2, "episodes": 2, "policy.hidden": [4], "environment.arguments.horizon": 4, "iterations": 2}
GRID = {"sampler": "grid", "space": {"outer.max_kl": {"choice": [0.01, 0.02]}, "inner.steps": {"integer": [1, 2]}}}
TPE = {
    "sampler": "tpe",
    "trials": 12,  # ten of them random
    "space": {
        "inner.learning_rate": {"log_uniform": [0.01, 1.0]},
        "estimator.gae_lambda": {"uniform": [0.5, 1.0]},
        "policy.hidden": {"choice": [[4], [5]]},
    },
    "overrides": {name: value for name, value in TINY.items() if name != "policy.hidden"},
}


def _file(folder: Path, **options: Any) -> str:
    base = str(ROOT / "configs/maml_trpo/2d-navigation.yaml")
    path = folder / "sweep-options.yaml"
    path.write_text(yaml.safe_dump({"base": base, "overrides": TINY, **options}))
    return str(path)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _returns(run: Path) -> list[str]:
    return [row["return_after"] for row in _rows(run / "progress.csv")]


def test_a_grid_visits_all_points_and_its_best_trains(tmp_path: Path, script: Script, capsys: Captured) -> None:
    output = tmp_path / "sweep"
    config = _file(tmp_path, **GRID, seeds=[1, 5])
    assert script("sweep", ["--config", config, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    rows = _rows(output / "sweep.csv")
    points = [(row["outer.max_kl"], row["inner.steps"]) for row in rows]
    assert sorted(points) == [("0.01", "1"), ("0.01", "2"), ("0.02", "1"), ("0.02", "2")]
    assert [row["state"] for row in rows] == ["complete"] * 4
    for row in rows:
        seeds = [float(row["seed_1"]), float(row["seed_5"])]
        assert float(row["value"]) == pytest.approx(sum(seeds) / 2)
        runs = [output / f"trial-{int(row['trial']):03d}" / f"seed-{seed}" for seed in (1, 5)]
        assert [float(_returns(run)[-1]) for run in runs] == seeds
        config_of_run = RunFolder.open(runs[1]).config
        assert (config_of_run.seed, config_of_run.inner.steps) == (5, int(row["inner.steps"]))
        assert (config_of_run.outer.max_kl, config_of_run.tasks) == (float(row["outer.max_kl"]), 2)
    best = max(rows, key=lambda row: float(row["value"]))
    assert len(printed.splitlines()) == 7  # names, four trials, how many, files
    assert printed.splitlines()[1].split()[0] == best["trial"]
    assert (output / "sweep.png").stat().st_size > 5000

    argv = ["--config", str(output / "best.yaml"), "--output", str(tmp_path / "again")]
    assert script("train", argv) == 0
    assert _returns(tmp_path / "again") == _returns(output / f"trial-{int(best['trial']):03d}" / "seed-1")
    runs = [str(output / name / "seed-1") for name in ("trial-000", "trial-003")]
    assert script("compare", ["--runs", *runs, "--output", str(tmp_path / "comparison")]) == 0


def test_an_interrupted_and_resumed_sweep_equals_an_uninterrupted_one(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, whole, parts = _file(tmp_path, **TPE), tmp_path / "whole", tmp_path / "parts"
    assert script("sweep", ["--config", config, "--output", str(whole)]) == 0

    places: list[tuple[Any, str, signal.Signals, int]] = [
        (RunFolder, "create", signal.SIGTERM, 1),
        (Records, "write", signal.SIGINT, 3),
        (RunFolder, "save", signal.SIGTERM, 1),
        (trial_results, "measured", signal.SIGINT, 2),
        (search, "current_trial", signal.SIGINT, 2),
        (search, "trial_of", signal.SIGTERM, 2),
        (runs, "training_run", signal.SIGINT, 1),
    ]
    argv = ["--config", config, "--output", str(parts)]
    for owner, name, number, after in places:
        left, original = [after], getattr(owner, name)

        def striking(*given: Any, original: Any = original, left: list[int] = left, number: int = number) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)
            return original(*given)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, staticmethod(striking) if name == "create" else striking)
            assert script("sweep", argv) == 130, name
        argv = ["--output", str(parts), "--resume"]
    with (parts / "study.journal").open("ab") as file:
        file.write(b'{"op_code":4,"wor')  # killed while it wrote, with a lock in its hand
    (parts / "study.journal.lock").symlink_to("study.journal")
    assert script("sweep", argv) == 0
    assert (parts / "sweep.csv").read_text() == (whole / "sweep.csv").read_text()
    assert (parts / "best.yaml").read_text() == (whole / "best.yaml").read_text()
    for run in sorted(whole.glob("trial-*/seed-1")):
        assert _returns(parts / run.relative_to(whole)) == _returns(run)


def test_proposals_depend_on_the_seed_and_more_trials_go_on(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_results, "train_run", lambda *given: None)
    monkeypatch.setattr(trial_results, "measured", lambda *given: 1.0)
    tried = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = _file(tmp_path, **{**TPE, "sampler": "random", "sampler_seed": seed})
        argv = ["--config", config, "--output", str(tmp_path / name)]
        assert script("sweep", [*argv, "--trials", "2" if name == "a" else "1"]) == 0
        if name == "b":
            assert script("sweep", ["--output", str(tmp_path / name), "--resume", "--trials", "2"]) == 0
        tried[name] = (tmp_path / name / "sweep.csv").read_text()
    assert tried["a"] == tried["b"]
    assert tried["a"].splitlines()[1] != tried["c"].splitlines()[1]


def test_a_trial_that_breaks_is_in_the_table_and_the_sweep_goes_on(
    tmp_path: Path, script: Script, capsys: Captured
) -> None:
    space = {"inner.learning_rate": {"choice": [1e30, 0.1]}, "outer.objective": {"choice": ["final", "uniform"]}}
    config = _file(tmp_path, sampler="grid", space=space)
    assert script("sweep", ["--config", config, "--output", str(tmp_path / "sweep")]) == 0
    rows = _rows(tmp_path / "sweep/sweep.csv")
    assert [row["state"] for row in rows] == ["failed", "failed", "complete", "complete"]
    assert rows[0]["reason"].startswith("seed 1: iteration 0: ")
    assert rows[0]["value"] == "nan"
    assert "2 complete, 2 failed" in capsys.readouterr().out


def test_a_sweep_without_any_value_says_why(tmp_path: Path, script: Script, capsys: Captured) -> None:
    config = _file(tmp_path, sampler="grid", space={"inner.learning_rate": {"choice": [1e30]}})
    assert script("sweep", ["--config", config, "--output", str(tmp_path / "sweep")]) == 1
    assert "no trial came to its end" in capsys.readouterr().err


def test_a_full_disk_is_not_the_trials_fault(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def full(*given: Any) -> None:
        raise RunFault("it could not be written: No space left on device.") from OSError(28, "No space left on device")

    config, output = (
        _file(tmp_path, sampler="grid", space={"inner.learning_rate": {"choice": [0.1]}}),
        str(tmp_path / "sweep"),
    )
    with monkeypatch.context() as patch:
        patch.setattr(Records, "write", full)
        assert script("sweep", ["--config", config, "--output", output]) == 1
    assert "No space left" in capsys.readouterr().err
    assert script("sweep", ["--output", output, "--resume"]) == 0
    assert _rows(tmp_path / "sweep/sweep.csv")[0]["state"] == "complete"


def test_the_pruner_leaves_seeds_out(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    returns, trained = [1.0, 2.0, 3.0, 4.0, 5.0, 2.9, 3.1], list[str]()
    monkeypatch.setattr(
        trial_results, "train_run", lambda base, changes, path, say: trained.append(f"{path.parent.name} {path.name}")
    )
    monkeypatch.setattr(trial_results, "measured", lambda path, *given: returns[int(path.parent.name[-3:])])
    rates = {"inner.learning_rate": {"choice": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]}}
    config = _file(tmp_path, sampler="grid", space=rates, seeds=[1, 2], pruner="median")
    assert script("sweep", ["--config", config, "--output", str(tmp_path / "sweep")]) == 0
    rows = _rows(tmp_path / "sweep/sweep.csv")
    assert [row["state"] for row in rows] == ["complete"] * 5 + ["pruned", "complete"]  # the median of five is 3
    assert (rows[5]["seed_1"], rows[5]["seed_2"], rows[5]["value"]) == ("2.9", "nan", "2.9")
    assert trained[-3:] == ["trial-005 seed-1", "trial-006 seed-1", "trial-006 seed-2"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"base": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
        ({"bass": 1}, "bass"),
        ({"seeds": "one"}, "seeds"),
        ({"seeds": [1, 1]}, "`seeds` must be one or more different numbers"),
        ({"seeds": [-1]}, "`seed` must be in"),
        ({"space": {}}, "`space` must name"),
        ({"space": {"inner.learning_rat": {"uniform": [0, 1]}}}, "inner.learning_rat"),
        ({"space": {"help": {"uniform": [0, 1]}}}, "has no field 'help'"),
        ({"space": {"inner.learning_rate": {"uniform": [1, 0]}}}, "two numbers, low and high"),
        ({"space": {"inner.learning_rate": {"uniform": [0.1, True]}}}, "two numbers, low and high"),
        ({"space": {"inner.learning_rate": {"log_uniform": [0, 1]}}}, "logarithmic"),
        ({"space": {"inner.steps": {"integer": [0.5, 1]}}}, "two whole numbers"),
        ({"space": {"inner.steps": {"integers": [0, 1]}}}, "inner.steps must have one of choice"),
        ({"space": {"outer.max_kl": {"uniform": [-1, 1]}}}, "`space`: outer.max_kl -1: `outer.max_kl` must be"),
        ({"space": {"environment.arguments.length": {"choice": [1]}}}, "length"),
        ({"space": {"inner.mode": {"choice": []}}}, "different choices"),
        ({"space": {"seed": {"integer": [1, 2]}}}, "`seed` is no field"),
        ({"overrides": {"outer.max_ld": 1}}, "`overrides`: "),
        ({"overrides": {"inner.learning_rate": 0.1}}, "`inner.learning_rate` is in `space` and in `overrides`"),
        ({"sampler": "grid", "space": {"inner.steps": {"integer": [1, 2]}}}, "`trials` goes with"),
        ({"sampler": "grid", "trials": None}, "a grid needs choices or integers"),
        ({"trials": None}, "`trials` goes with"),
        ({"trials": 0}, "`trials` must be at least 1"),
        ({"sampler": "cmaes"}, "sampler"),
        ({"metric": "return_afer"}, "training reports no 'return_afer'"),
        ({"window": 101}, "`window` is 101, but a run has 100 rows"),
        ({"pruner": "median"}, "needs more than one"),
    ],
)
def test_bad_options_are_a_line_before_any_work(
    tmp_path: Path, script: Script, capsys: Captured, changes: dict[str, Any], line: str
) -> None:
    good = {
        "trials": 2,
        "overrides": {**TINY, "iterations": 100},
        "space": {"inner.learning_rate": {"uniform": [0.1, 0.2]}},
    }
    config = _file(tmp_path, **{**good, **changes})
    assert script("sweep", ["--config", config, "--output", str(tmp_path / "sweep")]) == 2
    assert line in refusal(capsys)
    assert not (tmp_path / "sweep").exists()


def test_what_a_resumed_sweep_refuses(tmp_path: Path, script: Script, capsys: Captured) -> None:
    config, output = _file(tmp_path, **{**TPE, "trials": 1}), str(tmp_path / "sweep")
    (tmp_path / "empty").mkdir()
    assert script("sweep", ["--config", config, "--output", str(tmp_path / "empty"), "--resume"]) == 2
    assert "is not the folder of a sweep" in capsys.readouterr().err
    assert script("sweep", ["--config", config, "--output", output, "--trials", "2"]) == 0
    assert script("sweep", ["--config", config, "--output", output]) == 2
    assert "--resume" in capsys.readouterr().err
    for argv, line in (
        (["--window", "2"], "would change: window"),
        (["--trials", "1"], "has 2 trials already"),
    ):
        assert script("sweep", ["--output", output, "--resume", *argv]) == 2
        assert line in capsys.readouterr().err
    with alone(Path(output)):
        assert script("sweep", ["--output", output, "--resume"]) == 2
    assert "another process is at work" in capsys.readouterr().err
    assert script("sweep", ["--config", config, "--output", output, "--resume", "--trials", "2"]) == 0


def test_without_optuna_the_extra_is_named(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    config = _file(tmp_path, **GRID)
    assert script("sweep", ["--config", config, "--output", str(tmp_path / "sweep")]) == 2
    assert "pip install 'maml_rl[sweep]'" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((ROOT / "configs/sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_can_be_read(path: Path) -> None:
    options = Options(output="runs/sweep", **yaml.safe_load(path.read_text()))
    system, _ = configured(ROOT / options.base, options.overrides, "`overrides`")
    assert system
