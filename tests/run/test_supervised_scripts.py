"""The scripts on supervised runs: train, resume, evaluate with steps, shots and ensembles, and bad input."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl.run import held_out
from maml_rl.run.finished_run import open_run
from maml_rl.systems.maml import MAML

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str, list[str]], int]
SINE = ["--config", str(ROOT / "configs/maml/sinusoid.yaml"), "--network.hidden", "[8]", "--tasks", "4",
        "--torch_threads", "1", "--test.validation_tasks", "5", "--epoch", "4", "--report_every", "2"]  # fmt: skip
PRESETS = [
    path
    for path in sorted((ROOT / "configs").rglob("*.yaml"))
    if path.parent.name.startswith(("maml_p", "imaml")) or path.parent.name == "maml"
]


def _state(run: Path, which: str = "last") -> dict[str, Any]:
    return torch.load(run / "checkpoints" / f"{which}.pt", weights_only=True)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "progress.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in csv.DictReader(file)]


@pytest.fixture
def trained(tmp_path: Path, script: Script) -> Path:
    run = tmp_path / "trained"
    assert script("train", [*SINE, "--output", str(run), "--iterations", "12", "--test.keep", "2"]) == 0
    return run


def _letters(folder: Path, classes: int = 18, size: int = 28) -> Path:
    rng = np.random.default_rng(0)
    for kind in range(classes):
        part = ("train", "val", "test")[kind % 3]
        (folder / part / f"kind{kind}").mkdir(parents=True)
        for image in range(18):
            pixels = rng.integers(0, 255, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / part / f"kind{kind}" / f"{image}.png")
    return folder


def test_a_resumed_run_equals_one_that_never_stopped(trained: Path, tmp_path: Path, script: Script) -> None:
    run = tmp_path / "stopped"
    assert script("train", [*SINE, "--output", str(run), "--iterations", "6", "--test.keep", "2"]) == 0
    # Iteration 6 is the middle of an epoch: the run has been validated there because it ended.
    assert script("train", ["--output", str(run), "--resume", "--iterations", "12"]) == 0
    assert _same(_state(run)["state"], _state(trained)["state"])
    assert [row["meta_loss"] for row in _rows(run)] == [row["meta_loss"] for row in _rows(trained)]
    assert [row["iteration"] for row in _rows(run)] == ["1", "3", "5", "7", "9", "11"]


def test_an_end_within_an_epoch_leaves_no_trace_in_what_is_kept(tmp_path: Path, script: Script) -> None:
    for name, ends in (("straight", ["8"]), ("stopped", ["6", "8"])):
        for index, end in enumerate(ends):
            more = ["--resume"] if index else [*SINE, "--test.keep", "2"]
            assert script("train", [*more, "--output", str(tmp_path / name), "--iterations", end]) == 0
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert _rows(straight) == _rows(stopped)
    for which in ("last", "best"):
        assert _same(_state(straight, which), _state(stopped, which))


def test_a_schedule_that_ends_with_the_run_keeps_its_length(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--output", str(tmp_path / "run")]
    assert script("train", [*SINE, *run, "--iterations", "4", "--outer.final_rate", "1e-5"]) == 0
    capsys.readouterr()
    assert script("train", [*run, "--resume", "--iterations", "8"]) == 2
    assert "the run keeps its 4, got 8" in capsys.readouterr().err


def test_a_run_without_a_validated_state_is_evaluated_by_its_last(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert script("train", [*SINE, "--output", run, "--iterations", "2"]) == 0
    assert script("evaluate", ["--run", run, "--tasks", "3", "--steps", "1"]) == 0
    assert "checkpoint last (iteration 2), for lack of a best one" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["checkpoint"] == "last"
    assert script("compare", ["--runs", run, "--output", str(tmp_path / "out")]) == 0


def test_a_fault_in_validation_is_one_line(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any) -> dict[str, float]:
        raise RuntimeError("no memory left.")

    monkeypatch.setattr(MAML, "validate", failing)
    assert script("train", [*SINE, "--output", str(tmp_path / "run"), "--iterations", "4"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error: validation after iteration 1: no memory left. The checkpoint `last` holds" in error
    assert "Traceback" not in error


def test_validation_chooses_what_is_kept(trained: Path) -> None:
    scores = {int(row["iteration"]) + 1: float(row["validation_score"]) for row in _rows(trained)}
    scores = {iteration: score for iteration, score in scores.items() if not np.isnan(score)}
    assert sorted(scores) == [4, 8, 12]
    ranked = sorted(scores, key=lambda iteration: -scores[iteration])
    assert _state(trained, "best")["iteration"] == ranked[0]
    kept = {path.stem for path in (trained / "checkpoints").glob("validated-*.pt")}
    assert kept == {f"validated-{iteration}" for iteration in ranked[:2]}


def test_an_evaluation_is_written_drawn_and_repeatable(trained: Path, tmp_path: Path, script: Script) -> None:
    before = (trained / "checkpoints/best.pt").read_bytes()
    for name in ("a", "b"):
        argv = ["--run", str(trained), "--tasks", "6", "--steps", "3", "--output", str(tmp_path / name)]
        assert script("evaluate", argv) == 0
    first, second = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("a", "b"))
    assert len(first["error_mean"]) == len(first["error_interval95"]) == 4
    assert first["error_mean"] == second["error_mean"]
    assert first["rates"] == [0.01] * 3
    assert first["split"] == "test"
    arrays = np.load(tmp_path / "a" / "evaluation.npz")
    assert arrays["error"].shape == (4, 6)
    np.testing.assert_allclose(arrays["error"].mean(1), first["error_mean"])
    assert arrays["task_amplitude"].shape == (6,)
    for picture in ("adaptation.png", "curves.png"):
        with Image.open(tmp_path / "a" / picture) as image:
            assert np.asarray(image).std() > 1
    assert (trained / "checkpoints/best.pt").read_bytes() == before


def test_shots_splits_rates_and_ensembles(trained: Path, tmp_path: Path, script: Script) -> None:
    def found(*more: str) -> list[float]:
        output = tmp_path / "-".join(more).replace("/", "")
        argv = ["--run", str(trained), "--tasks", "6", "--steps", "2", "--output", str(output), *more]
        assert script("evaluate", argv) == 0
        return json.loads((output / "evaluation.json").read_text())["error_mean"]

    base = found()
    for other in (["--support", "3"], ["--split", "validation"], ["--ensemble", "2"], ["--seed", "5"]):
        assert found(*other) != base, other
    assert found("--rates", "[0.0]") == pytest.approx([base[0]] * 3)


def test_curves_of_an_ensemble_are_the_means_of_its_members(
    trained: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(held_out, "draw_curves", lambda curves, path: drawn.append(curves) or path)
    for ensemble in ("1", "2"):
        argv = [
            "--run",
            str(trained),
            "--tasks",
            "3",
            "--steps",
            "1",
            "--output",
            str(tmp_path),
            "--ensemble",
            ensemble,
        ]
        assert script("evaluate", argv) == 0
    with open_run(trained, "best", ensemble=2) as opened:
        tasks = opened.system.draw(1000, 2, 2, 3, "test")
        places = torch.from_numpy(drawn[0].places)[None, :, None].expand(3, -1, -1)
        members = [opened.system.predict([state], tasks, places, 1)[1][..., 0] for state in opened.states]
    np.testing.assert_allclose(drawn[0].fitted[1], members[0], rtol=1e-6)
    np.testing.assert_allclose(drawn[1].fitted[1], (members[0] + members[1]) / 2, rtol=1e-6)
    assert not np.allclose(drawn[0].fitted[1], drawn[1].fitted[1])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--inner.mode", "implicit"], "needs the pull of `inner.proximal`"),
        (["--outer.objective", "[0.5, 0.1]"], "`outer.objective`: `weights` must be finite, at least 0 and sum to 1"),
        (
            ["--outer.objective", "maybe"],
            "`outer.objective` must be 'final' or 'uniform' or 'annealed' or a list of numbers, got",
        ),
        (["--distribution.id", "sinusoids"], "there is no distribution 'sinusoids'"),
        (["--distribution.arguments", "{phase: 3}"], "unexpected keyword argument 'phase'"),
        (["--distribution.id", "omniglot", "--data", "/nowhere"], "/nowhere has neither images_background"),
        (["--data", "/nowhere"], "`data` does not go with the distribution 'sinusoid'"),
        (["--network.id", "conv4", "--network.hidden", "[40, 40]"], "takes images"),
        (["--outer.final_rate", "1.0"], "`outer.final_rate` must be at most `outer.rate`"),
        (["--inner.rates", "0.1"], "inner.rates"),
        (["--outer.objective", "finally"], "objective"),
        (["--epoch", "3"], "must be a multiple"),
    ],
)
def test_bad_input_is_one_line(
    more: list[str], message: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert script("train", [*SINE, "--output", str(run), *more]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not run.exists()


def test_more_images_than_there_are_is_told_before_any_work(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    argv = ["--output", str(run), "--data", str(_letters(tmp_path / "letters")), "--system", "maml", "--tasks", "2",
            "--distribution.id", "class_folders", "--distribution.arguments", "{ways: 2, size: 28, channels: 1}",
            "--query", "9", "--torch_threads", "1", "--test.validation_tasks", "2", "--epoch", "1"]  # fmt: skip
    argv += ["--report_every", "1", "--iterations", "1"]
    assert script("train", [*argv, "--support", "10"]) == 2
    assert "10 + 9 images of each class are asked for, class train/kind0 has 18" in capsys.readouterr().err
    assert not run.exists()
    assert script("train", [*argv, "--support", "9"]) == 0
    capsys.readouterr()
    assert script("evaluate", ["--run", str(run), "--support", "10", "--tasks", "2"]) == 2
    assert "10 + 9 images of each class are asked for" in capsys.readouterr().err


def test_what_has_no_effect_is_remarked(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--network.norm", "none", "--inner.damping", "2", "--outer.annealing_epochs", "3", "--iterations", "1"]
    assert script("train", [*SINE, "--output", str(tmp_path / "run"), *more]) == 0
    told = capsys.readouterr().out
    assert "note: `network.norm` none has no effect with `network.id` 'mlp'." in told
    assert "note: `inner.damping` 2.0 has no effect with `inner.mode` 'unrolled'." in told
    assert "note: `outer.annealing_epochs` 3 has no effect with `outer.objective` 'final'." in told
    assert told.count("note:") == 3


def test_fewer_iterations_than_there_are_are_refused(
    trained: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script("train", ["--output", str(trained), "--resume", "--iterations", "7"]) == 2
    assert "has 12 iterations already, got --iterations 7" in capsys.readouterr().err
    assert "iterations: 12" in (trained / "config.yaml").read_text()


def test_validation_that_diverges_is_told_and_never_best(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    argv = [*SINE, "--output", str(run), "--iterations", "4", "--test.steps", "60", "--inner.rate", "9.0"]
    assert script("train", [*argv, "--outer.rate", "1e-9", "--inner.mode", "first_order"]) == 0
    told = capsys.readouterr()
    assert "iteration 3: adaptation to validation tasks diverged" in told.out + told.err
    assert not (run / "checkpoints" / "best.pt").exists()


def test_other_classes_than_those_trained_on_are_refused(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
    run, data = tmp_path / "run", _letters(tmp_path / "letters")
    argv = ["--output", str(run), "--data", str(data), "--system", "maml", "--tasks", "2", "--distribution.id",
            "class_folders", "--distribution.arguments", "{ways: 2, size: 28, channels: 1}", "--torch_threads", "1",
            "--test.validation_tasks", "2", "--epoch", "1", "--report_every", "1", "--iterations", "1",
            "--support", "1", "--query", "1"]  # fmt: skip
    assert script("train", argv) == 0
    (data / "train" / "kind0").rename(data / "test" / "kind0")
    for name, more in (("train", ["--resume", "--output"]), ("evaluate", ["--tasks", "2", "--run"])):
        capsys.readouterr()
        assert script(name, [*more, str(run)]) == 2
        assert "these are not the tasks that" in capsys.readouterr().err


def test_tasks_that_diverge_are_named(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--run", str(trained), "--tasks", "6", "--steps", "9", "--output", str(tmp_path), "--rates", "0.0", "1e9"]
    assert script("evaluate", argv) == 0
    told = capsys.readouterr()
    assert "warning: 6 of the tasks diverged" in told.out
    assert "(task 0, 1, 2, 3, 4, ...)" in told.out
    assert "RuntimeWarning" not in told.err
    means = json.loads((tmp_path / "evaluation.json").read_text())["error_mean"]
    assert means[0] == means[1] > 0  # the first rate is 0
    assert means[-1] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--episodes", "3"], "`episodes` does not go with a supervised run"),
        (
            ["--ensemble", "5"],
            "holds 2 validated states: one comes with each epoch, and of those training keeps --test.keep 2",
        ),
        (["--ensemble", "2", "--checkpoint", "last"], "leave --checkpoint last out"),
        (["--steps", "2", "--rates", "0.1", "0.1", "0.1"], "`rates` has 3 entries, there are 2 gradient steps"),
        (["--steps", "-1"], "`steps` must be at least 0"),
        (["--support", "0"], "`support` must be at least 1"),
        (["--split", "tests"], "split"),
    ],
)
def test_evaluation_refuses_what_it_cannot_do(
    trained: Path, more: list[str], message: str, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert script("evaluate", ["--run", str(trained), *more]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_there_is_nothing_to_film(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert script("render", ["--run", str(trained), "--output", str(tmp_path / "film.gif")]) == 2
    assert "has no policy to film" in capsys.readouterr().err


def test_a_loss_that_explodes_ends_the_run_and_keeps_the_last_state(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert script("train", [*SINE, "--output", str(run), "--iterations", "8", "--inner.rate", "1e30"]) == 1
    error = capsys.readouterr().err
    assert "iteration 0" in error or "iteration 1" in error
    assert "is not finite" in error
    assert all(bool(leaf.isfinite().all()) for leaf in _state(run)["state"]["params"].values())


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_preset_trains_and_evaluates(
    path: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--tasks", "2", "--iterations", "1", "--torch_threads", "1", "--test.validation_tasks", "2"]
    if "omniglot" in path.stem:
        if not os.environ.get("MAML_RL_OMNIGLOT"):
            pytest.skip("MAML_RL_OMNIGLOT names no folder with the real images")
        small += ["--data", os.environ["MAML_RL_OMNIGLOT"], "--network.filters", "4"]
    if "imagenet" in path.stem:
        monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
        small += ["--data", str(_letters(tmp_path / "images")), "--network.filters", "4"]
    run = tmp_path / "run"
    assert script("train", ["--config", str(path), "--output", str(run), *small]) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "2", "--steps", "2"]) == 0
