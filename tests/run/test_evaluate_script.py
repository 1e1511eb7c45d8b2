"""scripts/evaluate.py: files, tables, learning rates, ensembles, splits and what there is to hold results against."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl.run.finished_run import open_run
from maml_rl.systems import maml
from tests.run.script_runs import NAVIGATION, ROOT, SINE, Captured, Script, evaluation_of, files_of, rows_of


def test_an_evaluation_writes_its_files_and_prints_the_table(
    navigation_run: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    before = files_of(navigation_run)
    argv = ["--run", str(navigation_run), "--tasks", "5", "--episodes", "3", "--output", str(tmp_path)]
    assert script("evaluate", [*argv, "--steps", "4", "--checkpoint", "last"]) == 0
    printed = capsys.readouterr().out
    evaluation, arrays = evaluation_of(tmp_path), np.load(tmp_path / "evaluation.npz")
    assert arrays["values"].shape == (5, 5, 3)
    assert arrays["task_goal"].shape == (5, 2)
    assert len(evaluation["mean"]) == 5
    assert evaluation["tasks"]["count"] == 5
    per_task = arrays["values"].mean(-1)
    np.testing.assert_allclose(evaluation["mean"], per_task.mean(-1))
    np.testing.assert_allclose(evaluation["interval95"], 1.96 * per_task.std(-1, ddof=1) / 5**0.5)
    table = [line.split()[:3] for line in printed.splitlines()[1:6]]
    assert table == [[str(step), f"{mean:.2f}", "+-"] for step, mean in enumerate(evaluation["mean"])]
    assert "checkpoint last (iteration 6)" in printed
    settings = evaluation["settings"]
    assert (settings["tasks_name"], settings["checkpoint"], settings["iteration"]) == (
        "envs:Navigation2D-v0",
        "last",
        6,
    )
    assert (settings["steps"], settings["episodes"], settings["seed"]) == (4, 3, 1000)
    assert (tmp_path / "adaptation.png").stat().st_size > 5000
    assert files_of(navigation_run) == before


def test_the_learning_rates_are_the_runs_own_unless_told_otherwise(
    navigation_run: Path, tmp_path: Path, script: Script
) -> None:
    values = {}
    for name, more in {
        "own": [],
        "same": ["--learning_rates", "[0.1, 0.05]"],  # as the run's configuration says: 0.1, then half of it
        "other": ["--learning_rates", "0.1", "0.1"],
    }.items():
        argv = ["--run", str(navigation_run), "--tasks", "3", "--episodes", "3", "--output", str(tmp_path / name)]
        assert script("evaluate", [*argv, "--steps", "3", *more]) == 0
        values[name] = np.load(tmp_path / name / "evaluation.npz")["values"]
    assert np.array_equal(values["own"], values["same"])
    assert np.array_equal(values["own"][:2], values["other"][:2])
    assert not np.array_equal(values["own"][2], values["other"][2])


def test_help_lists_the_options_of_the_runs_own_system(
    navigation_run: Path, sine_run: Path, script: Script, capsys: Captured
) -> None:
    listed = []
    for argv in ([], ["--run", str(navigation_run)], ["--run", str(sine_run)]):
        with pytest.raises(SystemExit) as ended:
            script("evaluate", [*argv, "--help"])
        assert ended.value.code == 0
        listed.append(capsys.readouterr().out)
    assert all("--steps" in text and "--checkpoint" in text for text in listed)
    own = [
        {name for name in ("--episodes", "--learning_rates", "--support", "--ensemble") if name in text}
        for text in listed
    ]
    assert own == [set(), {"--episodes", "--learning_rates"}, {"--learning_rates", "--support", "--ensemble"}]


def test_references_stand_beside_what_was_reached(tmp_path: Path, script: Script, capsys: Captured) -> None:
    small = ["--config", str(ROOT / "configs/maml_trpo/bandit-k5-n10.yaml"), "--tasks", "4", "--episodes", "3"]
    for name, more, steps in (("whole", [], 10), ("short", ["--environment.max_episode_steps", "4"], 4)):
        run = tmp_path / name
        assert script("train", [*small, *more, "--iterations", "1", "--output", str(run)]) == 0
        assert script("evaluate", ["--run", str(run), "--tasks", "5", "--episodes", "2", "--steps", "1"]) == 0
        references = evaluation_of(run)["references"]
        chances = np.load(run / "evaluation.npz")["task_chances"]
        assert references["optimal"] == pytest.approx(steps * chances.max(1).mean())
        assert references["random"] == pytest.approx(steps * chances.mean())
        assert f"optimal  {references['optimal']:20.2f}" in capsys.readouterr().out


def test_held_out_arguments_are_those_of_evaluation_only(tmp_path: Path, script: Script, capsys: Captured) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", "envs:Navigation2D-v0", "--environment.arguments", "{goal_range: 0.2, horizon: 10}",
            "--environment.held_out", "{goal_range: 3.0}", "--output", str(run), "--tasks", "6", "--episodes", "2",
            "--iterations", "1"]  # fmt: skip
    assert script("train", argv) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "20", "--episodes", "2", "--steps", "1"]) == 0
    assert np.abs(np.load(run / "evaluation.npz")["task_goal"]).max() > 1
    assert evaluation_of(run)["settings"]["arguments"]["goal_range"] == 3.0
    assert float(rows_of(run)[0]["return_step_0"]) > -6
    picture = str(tmp_path / "far.png")
    assert script("render", ["--run", str(run), "--task", '{"goal": [2.0, 2.0]}', "--output", picture]) == 0
    other = ["--output", str(tmp_path / "other"), "--tasks", "2", "--episodes", "2", "--iterations", "1"]
    bandits = ["--environment.id", "envs:Bandit-v0", "--environment.held_out", "{arms: 3}"]
    for wrong, message in (
        (["--environment.held_out", "{num_envs: 3}"], "cannot hold num_envs"),
        (["--environment.held_out", "{gaol_range: 3.0}"], "gaol_range"),
        (bandits, "gives other observations or actions than training"),
    ):
        capsys.readouterr()
        assert script("train", [*wrong, *other]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_run_of_no_iterations_holds_the_initial_policy_and_an_oracle_takes_no_steps(
    tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run = str(tmp_path / "run")
    argv = [*NAVIGATION, "--iterations", "0", "--inner.steps", "0", "--environment.show_task", "true", "--output", run]
    assert script("train", argv) == 0
    assert "the run holds the initial state" in capsys.readouterr().out
    for more, points in (([], 1), (["--steps", "1"], 2)):
        assert script("evaluate", ["--run", run, "--tasks", "2", "--episodes", "2", *more]) == 0
        assert np.load(tmp_path / "run" / "evaluation.npz")["values"].shape == (points, 2, 2)
    assert script("export", ["--run", run, "--output", str(tmp_path / "policy.zip")]) == 0  # of no steps, so of no task
    widths = []
    for name, more in (("one", []), ("three", ["--steps", "0", "1", "3"])):
        assert script("render", ["--run", run, "--output", str(tmp_path / f"{name}.png"), *more]) == 0
        with Image.open(tmp_path / f"{name}.png") as picture:
            widths.append(picture.width)
    assert widths[1] > 2 * widths[0]


def test_an_evaluation_of_a_supervised_run_is_written_drawn_and_repeatable(
    sine_run: Path, tmp_path: Path, script: Script
) -> None:
    before = files_of(sine_run)
    for name in ("a", "b"):
        argv = ["--run", str(sine_run), "--tasks", "6", "--steps", "3", "--output", str(tmp_path / name)]
        assert script("evaluate", argv) == 0
    first, second = evaluation_of(tmp_path / "a"), evaluation_of(tmp_path / "b")
    assert len(first["mean"]) == len(first["interval95"]) == 4
    assert first["mean"] == second["mean"]
    assert (first["measure"], first["settings"]["learning_rates"]) == ("error", [0.01] * 3)
    assert first["settings"]["split"] == "test"
    arrays = np.load(tmp_path / "a" / "evaluation.npz")
    assert arrays["values"].shape == (4, 6)
    np.testing.assert_allclose(arrays["values"].mean(1), first["mean"])
    assert arrays["task_amplitude"].shape == (6,)
    for picture in ("adaptation.png", "curves.png"):
        with Image.open(tmp_path / "a" / picture) as image:
            assert np.asarray(image).std() > 1
    assert files_of(sine_run) == before


def test_shots_splits_learning_rates_and_ensembles_make_a_difference(
    sine_run: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    def means(*more: str) -> list[float]:
        argv = ["--run", str(sine_run), "--tasks", "6", "--steps", "2", "--output", str(tmp_path), *more]
        assert script("evaluate", argv) == 0
        return evaluation_of(tmp_path)["mean"]

    base = means()
    for other in (["--support", "3"], ["--split", "validation"], ["--ensemble", "2"], ["--seed", "5"]):
        assert means(*other) != base, other
        assert ("ensemble of the 2 best states" in capsys.readouterr().out) == ("--ensemble" in other)
        assert evaluation_of(tmp_path)["settings"]["checkpoint"] == ("validated" if "--ensemble" in other else "best")
    assert means("--learning_rates", "[0.0]") == pytest.approx([base[0]] * 3)


def test_curves_of_an_ensemble_are_the_means_of_its_members(
    sine_run: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(maml, "draw_curves", lambda curves, figure: drawn.append(curves))
    for ensemble in ("1", "2"):
        argv = ["--run", str(sine_run), "--tasks", "3", "--steps", "1", "--output", str(tmp_path)]
        assert script("evaluate", [*argv, "--ensemble", ensemble]) == 0
    with open_run(sine_run, "best", states=2) as opened:
        assert isinstance(opened.system, maml.System)
        tasks = opened.system.draw(1000, 2, 2, 3, "test")
        places = torch.from_numpy(drawn[0].places)[None, :, None].expand(3, -1, -1)
        members = [opened.system.predict([state], tasks, places, 1)[1][..., 0] for state in opened.states]
    np.testing.assert_allclose(drawn[0].fitted[1], members[0], rtol=1e-6)
    np.testing.assert_allclose(drawn[1].fitted[1], (members[0] + members[1]) / 2, rtol=1e-6)
    assert not np.allclose(drawn[0].fitted[1], drawn[1].fitted[1])


def test_a_run_without_a_validated_state_is_evaluated_by_its_last(
    tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run = str(tmp_path / "run")
    assert script("train", [*SINE, "--output", run, "--iterations", "2"]) == 0
    assert script("evaluate", ["--run", run, "--tasks", "3", "--steps", "1"]) == 0
    assert "checkpoint last (iteration 2), for lack of a best one" in capsys.readouterr().out
    assert evaluation_of(tmp_path / "run")["settings"]["checkpoint"] == "last"
    assert script("compare", ["--runs", run, "--output", str(tmp_path / "out")]) == 0


def test_tasks_that_diverge_are_named(sine_run: Path, tmp_path: Path, script: Script, capsys: Captured) -> None:
    argv = ["--run", str(sine_run), "--tasks", "6", "--steps", "9", "--output", str(tmp_path)]
    assert script("evaluate", [*argv, "--learning_rates", "0.0", "1e9"]) == 0
    told = capsys.readouterr()
    assert "warning: 6 of the tasks diverged" in told.out
    assert "(task 0, 1, 2, 3, 4, ...); smaller --learning_rates adapt more gently." in told.out
    assert "RuntimeWarning" not in told.err
    means = evaluation_of(tmp_path)["mean"]
    assert means[0] == means[1] > 0  # the first rate is 0
    assert means[-1] is None
