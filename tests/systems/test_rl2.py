"""RL^2 as a whole: same seed same curve, exact resume, learning, evaluation over episodes, bad input."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.core.tree import map_tree
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig
from maml_rl.rl.sampling.seeds import drawing_seed
from maml_rl.rl.updates.ppo import PPOConfig
from maml_rl.systems.rl2 import Config, System

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str, list[str]], int]
NAVIGATION = Config(
    environment=EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 10}),
    policy=RecurrentConfig(8, [6]),
    ppo=PPOConfig(epochs=2, minibatches=2),
    tasks=4,
    copies=2,
)
SMALL = ["--config", str(ROOT / "configs/rl2/2d-navigation.yaml"), "--tasks", "4", "--policy.units", "8",
         "--environment.arguments.horizon", "10", "--ppo.minibatches", "2"]  # fmt: skip


def _curve(config: Config, iterations: int = 3) -> tuple[list[dict[str, float]], dict[str, Any]]:
    system = System(config)
    state, curve = system.initial_state(), []
    for iteration in range(iterations):
        state, metrics = system.iterate(state, iteration)
        curve.append({name: value for name, value in metrics.items() if not name.endswith("_s")})
    system.close()
    return curve, state


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    return torch.equal(first, second)


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "progress.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in csv.DictReader(file)]


def _stored(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)["state"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small run of four iterations."""
    from maml_rl.run.cli import exit_code

    run = tmp_path_factory.mktemp("rl2") / "run"
    assert exit_code(_train(), [*SMALL, "--output", str(run), "--iterations", "4"]) == 0
    return run


def _train() -> Callable[[Any], int]:
    import importlib.util

    spec = importlib.util.spec_from_file_location("script_train_rl2", ROOT / "scripts/train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main  # type: ignore[no-any-return]


def test_the_same_seed_gives_the_same_curve_bitwise() -> None:
    curve, state = _curve(NAVIGATION)
    again, other = _curve(NAVIGATION)
    assert curve == again
    assert _same(state, other)
    assert _curve(dataclasses.replace(NAVIGATION, seed=2))[0] != curve
    assert all(np.isfinite(value) for metrics in curve for value in metrics.values())
    assert curve[0]["env_steps"] == 4 * 2 * 2 * 10
    assert curve[0]["return_before"] == curve[0]["return_step_0"]
    assert curve[0]["return_after"] == curve[0]["return_step_1"]


def test_an_iteration_changes_nothing_in_place_and_no_global_generator() -> None:
    system = System(NAVIGATION)
    state, _ = system.iterate(system.initial_state(), 0)
    kept = map_tree(torch.clone, state)
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    system.iterate(state, 1)
    assert _same(state, kept)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    system.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"episodes": 1},
        {"precision": "float64", "episodes": 3},
        {"ppo": PPOConfig(entropy_weight=0.01, target_kl=0.001, minibatches=8)},
        {"policy": RecurrentConfig(5, [], "relu")},
    ],
    ids=str,
)
def test_every_combination_iterates(changes: dict[str, Any]) -> None:
    curve, _ = _curve(dataclasses.replace(NAVIGATION, **changes), 2)
    assert all(np.isfinite(value) for metrics in curve for value in metrics.values())
    assert {f"return_step_{k}" for k in range(changes.get("episodes", 2))} <= curve[0].keys()


def test_the_second_episode_of_a_corridor_knows_its_exit(third_party: str) -> None:
    """Rewards tell the side of the exit, so a policy with a memory walks the right way once it has seen one."""
    config = Config(
        environment=EnvironmentConfig(f"{third_party}:Corridor-v0"),
        policy=RecurrentConfig(16, []),
        ppo=PPOConfig(learning_rate=1e-2, minibatches=1, epochs=5),
        tasks=30,
    )
    curve, _ = _curve(config, 25)
    early, late = (np.mean([metrics["return_step_1"] for metrics in part]) for part in (curve[:2], curve[-3:]))
    assert late > early + 2.0
    assert np.mean([metrics["adaptation_gain"] for metrics in curve[-5:]]) > 0.3


def test_returns_of_minus_a_hundred_need_no_tuning() -> None:
    """The value head speaks in units of the returns' spread, so it fits them at once whatever they are."""
    far = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 100})
    curve, state = _curve(dataclasses.replace(NAVIGATION, environment=far), 3)
    assert curve[0]["return_before"] < -30
    assert all(metrics["value_loss"] < 3 for metrics in curve)
    assert float(state["returns"]["mean"]) < -20


def test_a_resumed_run_equals_an_uninterrupted_one_bitwise(trained: Path, tmp_path: Path, script: Script) -> None:
    run = tmp_path / "run"
    assert script("train", [*SMALL, "--output", str(run), "--iterations", "2"]) == 0
    assert script("train", ["--output", str(run), "--resume", "--iterations", "4"]) == 0
    assert _same(_stored(run), _stored(trained))
    assert _rows(run) == _rows(trained)


def test_evaluation_counts_episodes(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--run", str(trained), "--tasks", "5", "--episodes", "3", "--output", str(tmp_path), "--steps", "3"]
    assert script("evaluate", argv) == 0
    printed = capsys.readouterr().out
    assert "past episodes" in printed
    assert "gain over 0 episodes" in printed
    assert "gradient" not in printed
    arrays, summary = np.load(tmp_path / "evaluation.npz"), json.loads((tmp_path / "evaluation.json").read_text())
    assert arrays["values"].shape == (4, 5, 3)
    assert (summary["measure"], summary["axis"], len(summary["mean"])) == ("return", "past episodes", 4)
    assert "learning_rates" not in summary["settings"]
    assert (tmp_path / "adaptation.png").stat().st_size > 5000
    assert script("compare", ["--runs", str(trained), str(tmp_path), "--output", str(tmp_path / "both")]) == 0


def test_evaluation_is_repeatable_and_never_sees_the_training_tasks() -> None:
    system = System(NAVIGATION)
    state, options = system.initial_state(), system.Options(steps=2, tasks=3, seed=NAVIGATION.seed, episodes=2)
    first, second = (system.evaluate([state], options) for _ in range(2))
    assert first.tasks == second.tasks
    assert first.values.shape == (3, 3, 2)
    np.testing.assert_array_equal(first.values, second.values)
    for iteration in range(20):
        drawn = system.sampler.stepper.draw_tasks(drawing_seed(NAVIGATION.seed, 0, iteration))
        assert not {str(task) for task in first.tasks} & {str(task) for task in drawn}
    chosen = {"goal": [0.1, 0.2]}
    with system.held_out(1, [chosen], 2) as held_out:
        assert held_out.tasks == [chosen]
    scenes = system.renderer().scenes(state, [0, 2], [chosen], None, 1)
    assert [scene.task for scene in scenes] == [chosen]
    assert [steps for steps, _ in scenes[0].players] == [0, 1, 2]
    system.close()


def test_held_out_tasks_can_be_of_another_range(tmp_path: Path, script: Script) -> None:
    run = tmp_path / "run"
    argv = [*SMALL, "--output", str(run), "--iterations", "0", "--environment.held_out", '{"goal_range": 0.01}']
    assert script("train", argv) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "4", "--episodes", "2", "--steps", "1"]) == 0
    assert np.abs(np.load(run / "evaluation.npz")["task_goal"]).max() <= 0.01


def test_what_an_rl2_run_cannot_do_is_one_line(
    trained: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("stable_baselines3")
    for name, extra, message in (
        ("evaluate", ["--learning_rates", "[0.1]"], "learning_rates"),
        ("export", ["--output", str(tmp_path / "policy.zip")], "rl2 policies are recurrent"),
    ):
        assert script(name, ["--run", str(trained), *extra]) == 2
        errors = capsys.readouterr().err.strip()
        assert message in errors
        assert "\n" not in errors


def test_an_rl2_run_is_filmed_by_its_episodes(trained: Path, tmp_path: Path, script: Script) -> None:
    output = tmp_path / "film.gif"
    assert script("render", ["--run", str(trained), "--steps", "0", "2", "--tasks", "1", "--output", str(output)]) == 0
    assert output.stat().st_size > 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--tasks", "0"], "`tasks` must be at least 1, got 0"),
        (["--copies", "0"], "`copies` must be at least 1"),
        (["--ppo.minibatches", "5"], "`ppo.minibatches` must be at most the 4 trials, got 5"),
        (["--ppo.clip", "0"], "`ppo.clip` must be positive"),
        (["--inner.steps", "1"], "inner.steps"),
        (["--policy.units", "0"], "`policy.units` must be at least 1"),
        (["--environment.id", "CartPole-v1", "--environment.arguments", "{}"], "CartPole-v1"),
    ],
    ids=str,
)
def test_bad_options_are_one_line_and_exit_code_2(
    extra: list[str], message: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script("train", [*SMALL, "--output", str(tmp_path / "run"), *extra]) == 2
    errors = capsys.readouterr().err.strip()
    assert message in errors
    assert "\n" not in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(episodes=0), "`episodes`"),
        (lambda: Config(iterations=-1), "`iterations`"),
        (lambda: Config(seed=2**32), "`seed`"),
        (lambda: PPOConfig(learning_rate=float("nan")), "`ppo.learning_rate`"),
        (lambda: PPOConfig(epochs=0), "`ppo.epochs`"),
        (lambda: PPOConfig(discount=1.1), "`ppo.discount`"),
        (lambda: PPOConfig(entropy_weight=-1.0), "`ppo.entropy_weight`"),
        (lambda: PPOConfig(target_kl=0.0), "`ppo.target_kl`"),
        (lambda: RecurrentConfig(encoder=[3, 0]), "`policy.encoder`"),
        (lambda: RecurrentConfig(minimum_std=2.0), "`policy.minimum_std`"),
        (lambda: System(Config(device="tpu")), "`device`"),
    ],
)
def test_impossible_configurations_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_update_that_diverges_is_told(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*SMALL, "--output", str(tmp_path / "run"), "--iterations", "3", "--ppo.learning_rate", "1e30"]
    assert script("train", argv) == 1
    errors = capsys.readouterr().err.strip().splitlines()[-1]
    assert errors.startswith("error: iteration")
    assert "ppo.learning_rate" in errors or "not a finite number" in errors
