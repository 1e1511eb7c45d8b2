"""Wrong requests: options, files, folders and checkpoints that are refused in one line, with exit code 2."""

from pathlib import Path
from typing import Any

import pytest
import torch

from maml_rl.run import checkpoint
from tests.run.script_runs import NAVIGATION, SINE, Captured, Script, files_of, refusal

TWO_D = "configs/maml_trpo/2d-navigation.yaml"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--nonsense", "3"], "unrecognized arguments: --nonsense 3; --help lists those there are."),
        (["--inner.stepz", "3"], "inner.stepz"),
        (["--tasks", "many"], "`tasks` must be a whole number, got many."),
        (["--tasks", "null"], "`tasks` must be a whole number, got null."),
        (
            ["--inner.learning_rate", "[a]"],
            "`inner.learning_rate` must be a number or {first: ..., then: ...} or a list of numbers, got ['a'].",
        ),
        (["--environment.max_episode_steps", "x"], "must be a whole number or null, got x."),
        (["--environment.show_task", "3"], "must be true or false, got 3."),
        (["--environment.arguments", "3"], "must be names with values, {name: value}, got 3."),
        (["--inner.adapts", "5"], "must be 'all' or 'head' or 'context' or a list of words, got 5."),
        (["--policy.hidden", "wide"], "`policy.hidden` must be a list of whole numbers, got wide."),
        (["--tasks", "0"], "`tasks` must be at least 1, got 0"),
        (["--episodes", "0"], "`episodes` must be at least 1, got 0"),
        (["--inner.mode", "second"], "`inner.mode` must be 'unrolled' or 'first_order' or 'implicit', got second."),
        (["--inner.steps", "0", "--outer.objective", "uniform"], "`outer.objective` does not go with `inner.steps`"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config"], "argument --config: expected one argument"),
        (["--environment.id", "envs:Nothing-v0"], "envs:Nothing-v0"),
        (["--environment.id", "nothing:Nothing-v0"], "nothing"),
        (["--environment.id", "CartPole-v1", "--environment.arguments", "{}"], "CartPole-v1"),
        (["--environment.arguments.horizon", "-3"], "`horizon` must be a whole number"),
        (["--environment.arguments.gaol", "1"], "gaol"),
        (["--device", "tpu"], "`device`"),
        (["--device", "mps"], "`device`"),
        (["--environment.max_episode_steps", "0"], "max_episode_steps"),
        (["--environment.max_episode_steps", "11"], "between 1 and the horizon 10, got 11"),
        (["--environment.arguments.max_episode_steps", "4"], "cannot hold max_episode_steps"),
        (["--environment.arguments.horizon", "5.5"], "whole number"),
        (["--outer.objective", "[0.0, 0.0]"], "sum to 1"),
        (["--system", "magic"], "`--system` says magic."),
        (["--system", "promp", "--config", TWO_D], "`--system` says promp."),
        (["--inner.learning_rate", "-1"], "`inner.learning_rate`: learning rates must be"),
        (["--estimator.gae_lambda", "2"], "`estimator.gae_lambda` must be between 0 and 1"),
        (["--policy.initial_std", "0"], "`policy.initial_std` must be positive"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_options_are_one_line_before_any_work(
    extra: list[str], message: str, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    assert script("train", [*NAVIGATION, "--output", str(tmp_path / "run"), *extra]) == 2
    assert message in refusal(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--inner.mode", "implicit"], "needs the pull of `inner.proximal`"),
        (["--outer.objective", "[0.5, 0.1]"], "`weights` must be finite, at least 0 and sum to 1"),
        (
            ["--outer.objective", "maybe"],
            "`outer.objective` must be 'final' or 'uniform' or 'annealed' or a list of numbers, got maybe.",
        ),
        (["--distribution.id", "sinusoids"], "there is no distribution 'sinusoids'"),
        (["--distribution.arguments", "{phase: 3}"], "unexpected keyword argument 'phase'"),
        (["--distribution.id", "omniglot", "--data", "/nowhere"], "/nowhere has neither images_background"),
        (["--data", "/nowhere"], "`data` does not go with the distribution 'sinusoid'"),
        (["--network.id", "conv4", "--network.hidden", "[40, 40]"], "takes images"),
        (["--outer.final_learning_rate", "1.0"], "`outer.final_learning_rate` must be at most `outer.learning_rate`"),
        (["--inner.learning_rates", "0.1"], "inner.learning_rates"),
        (["--epoch", "3"], "must be a multiple"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_options_of_supervised_runs_are_one_line_before_any_work(
    extra: list[str], message: str, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    assert script("train", [*SINE, "--output", str(tmp_path / "run"), *extra]) == 2
    assert message in refusal(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tasks: [1", "not YAML"),
        ("inner:\n  stepz: 3\n", "stepz"),
        ("tasks: many\n", "`tasks` must be a whole number, got many."),
        ("tasks:\nseed: 2\n", "`tasks` must be a whole number, got null."),
        ("- 1\n- 2\n", "names and values"),
        ("system: magic\n", "magic"),
        ("system: [a]\n", "there is no system"),
        ("policy: 3\n", "`policy` must hold names and values, got 3."),
        ("inner:\n", "`inner` must hold names and values, got null."),
        ("environment:\n  arguments:\n", "`environment.arguments` must hold"),
        ("environment:\n  arguments: {max_step: big}\n", "`max_step` must be a positive number"),
        ("outer: {max_kl: .inf}\n", "outer.max_kl"),
    ],
)
def test_bad_files_are_one_line(content: str, message: str, tmp_path: Path, script: Script, capsys: Captured) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    assert script("train", ["--config", str(tmp_path / "bad.yaml"), "--output", str(tmp_path / "run")]) == 2
    assert message in refusal(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("train", [*NAVIGATION, "--output", "RUN"], "exists"),
        ("train", NAVIGATION, "--output"),
        ("train", ["--output", "EMPTY", "--resume"], "not a run folder"),
        ("train", ["--output", "RUN", "--resume", "--seed", "9"], "this would change: seed"),
        ("train", ["--output", "RUN", "--resume", "--iterations", "5"], "has 6 iterations already, got --iterations 5"),
        ("evaluate", [], "say which run to evaluate: --run"),
        ("evaluate", ["--learning_rates", "0.1"], "say which run to evaluate: --run"),
        ("evaluate", ["--run", "EMPTY"], "not a run folder"),
        ("evaluate", ["--run", "RUN", "--tasks", "0"], "`tasks` must be at least 1"),
        ("evaluate", ["--run", "RUN", "--seed", "-1"], "`seed` must be at least 0"),
        ("evaluate", ["--run", "RUN", "--learning_rates", "[-1]"], "`learning_rates`"),
        ("evaluate", ["--run", "RUN", "--learning_rates", "fast"], "`learning_rates` must be a list of numbers"),
        ("evaluate", ["--run", "RUN", "--checkpoint", "worst"], "`checkpoint` must be 'best' or 'last', got worst."),
        ("evaluate", ["--run", "RUN", "--support", "5"], "unrecognized arguments: --support 5; --help lists"),
        ("evaluate", ["--run", "RUN", "--data", "x"], "`data` does not go with"),
        ("render", ["--run", "RUN", "--output", "film.avi"], ".mp4"),
        ("render", ["--run", "RUN", "--output", "film.gif", "--task", "{goal"], "JSON"),
        ("render", ["--run", "RUN", "--output", "film.gif", "--task", "3"], "JSON object"),
        ("render", ["--run", "RUN", "--output", "film.gif", "--task", '{"speed": 1}'], "goal"),
        ("render", ["--run", "RUN", "--output", "film.gif", "--task", '{"goal": [9, 9]}'], "must be within"),
        ("render", ["--run", "RUN", "--output", "film.gif", "--steps", "-1"], "`steps`"),
        ("render", ["--run", "RUN", "--output", "film.gif", "--task", "{}", "--tasks", "2"], "not go with `task`"),
        ("export", ["--run", "RUN", "--output", "policy.zip"], "`task` must say what to adapt to"),
        ("export", ["--run", "RUN", "--output", "policy.pt"], "`output` must end in .zip"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_requests_that_do_not_fit_a_run_are_one_line_and_change_nothing(
    name: str, argv: list[str], message: str, navigation_run: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    before = files_of(navigation_run)
    places = {"RUN": str(navigation_run), "EMPTY": str(tmp_path)}
    assert script(name, [places.get(word, word) for word in argv]) == 2
    assert message in refusal(capsys)
    assert files_of(navigation_run) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--episodes", "3"], "unrecognized arguments: --episodes 3; --help lists"),
        (["--ensemble", "5"], "holds 2 validated states: one comes with each validation"),
        (["--ensemble", "2", "--checkpoint", "last"], "leave --checkpoint last out"),
        (["--steps", "2", "--learning_rates", "0.1", "0.1", "0.1"], "`learning_rates` has 3 entries, there are 2"),
        (["--steps", "-1"], "`steps` must be at least 0"),
        (["--support", "0"], "`support` must be at least 1"),
        (["--split", "tests"], "`split` must be 'train' or 'validation' or 'test', got tests."),
    ],
)
def test_evaluations_refuse_what_a_supervised_run_cannot_do(
    more: list[str], message: str, sine_run: Path, script: Script, capsys: Captured
) -> None:
    assert script("evaluate", ["--run", str(sine_run), *more]) == 2
    assert message in refusal(capsys)


def test_a_run_without_policies_can_neither_be_filmed_nor_exported(
    sine_run: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    for name, output, message in (("render", "film.gif", "no policy to film"), ("export", "a.zip", "no policy to exp")):
        assert script(name, ["--run", str(sine_run), "--output", str(tmp_path / output)]) == 2
        assert message in refusal(capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"not a checkpoint", "damaged"),
        ({"weights": 1}, "lacks the mark"),
        ({"format": "maml_rl checkpoint 1", "system": "maml_trpo"}, "lacks the mark"),
        ({"format": checkpoint.FORMAT, "system": "other"}, "system 'other'"),
        ({"format": checkpoint.FORMAT, "system": "maml_trpo", "state": {}}, "lacks iteration, totals, best"),
        (None, "there is no checkpoint"),
        ("truncated", "damaged"),
    ],
)
def test_corrupt_and_foreign_checkpoints_are_refused(
    content: Any, message: str, navigation_run: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_bytes((navigation_run / "config.yaml").read_bytes())
    path = run / "checkpoints/last.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        torch.save(content, path)
    elif content == "truncated":
        path.write_bytes((navigation_run / "checkpoints/last.pt").read_bytes()[:-200])
    for name, argv in (
        ("train", ["--output", str(run), "--resume"]),
        ("evaluate", ["--run", str(run), "--checkpoint", "last"]),
        ("render", ["--run", str(run), "--checkpoint", "last", "--output", "film.gif"]),
    ):
        assert script(name, argv) == 2
        assert message in refusal(capsys)


def test_a_checkpoint_of_another_network_is_refused(
    navigation_run: Path, tmp_path: Path, script: Script, capsys: Captured
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    config = (navigation_run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("hidden: [8]", "hidden: [9]"))
    for which in ("last", "best"):
        (run / f"checkpoints/{which}.pt").write_bytes((navigation_run / f"checkpoints/{which}.pt").read_bytes())
    for name, argv in (
        ("train", ["--output", str(run), "--resume"]),
        ("evaluate", ["--run", str(run)]),
        ("render", ["--run", str(run), "--output", str(tmp_path / "film.gif")]),
    ):
        assert script(name, argv) == 2
        assert "does not fit" in refusal(capsys)
