"""Meta-gradient reinforcement learning as a whole: seeds side by side, exact resume, divergence, settings, errors."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.online.actor_critic import CriticConfig
from maml_rl.rl.online.hyperparameters import HyperparameterConfig
from maml_rl.rl.online.learner import LearnerConfig, MetaLossConfig
from maml_rl.rl.policies import PolicyConfig
from maml_rl.rl.sampling.stepping import Stepper
from maml_rl.systems.meta_gradient import Config, System
from maml_rl.systems.meta_gradient_config import MetaConfig
from tests.compiler import needs_compiler

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str, list[str]], int]
COLOURS = Config(
    precision="float64",
    seeds=3,
    rollout=5,
    policy=PolicyConfig([8]),
    critic=CriticConfig([8]),
    gamma=HyperparameterConfig(0.9, "one"),
    gae_lambda=HyperparameterConfig(0.5, "state", hidden=[4]),
    entropy_weight=HyperparameterConfig(0.2, "rewards", hidden=[4]),
    learning_rate=HyperparameterConfig(0.1, "one"),
    memory=3,
    meta=MetaConfig(rollouts=3, learning_rate=0.01),
    traced=False,
)
CHAIN = replace(
    COLOURS,
    environment=EnvironmentConfig("envs:NoisyChain-v0", {"states": 4}),
    rollout=6,
    critic=CriticConfig(table=True),
    gamma=HyperparameterConfig(0.5, "table"),
    gae_lambda=HyperparameterConfig(1.0),
    entropy_weight=HyperparameterConfig(0.0),
    learning_rate=HyperparameterConfig(2.0),
    meta=MetaConfig(loss=MetaLossConfig(1.0, 1.0, policy_weight=0.0, value_weight=1.0), learning_rate=0.05),
)
CHEETAH = replace(
    COLOURS,
    environment=EnvironmentConfig("envs:HalfCheetahDir-v0", {"horizon": 7}),
    environments=2,
    learner=LearnerConfig("adam", max_norm=0.5),
)
CASES = {
    "unrolled": COLOURS,
    "trace": replace(COLOURS, meta=MetaConfig("trace", 2, decay=0.7)),
    "bootstrapped": replace(COLOURS, meta=MetaConfig("bootstrapped", 2, target_rollouts=2)),
    "nothing learned": replace(COLOURS, gamma=HyperparameterConfig(0.9), gae_lambda=HyperparameterConfig(0.5),
                               entropy_weight=HyperparameterConfig(0.2), learning_rate=HyperparameterConfig(0.1)),
    "recorded": replace(COLOURS, traced=True),
    "chain": CHAIN,
    "cheetah": CHEETAH,
}  # fmt: skip
every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES)


def _lived(config: Config, iterations: int, state: Any = None, first: int = 0) -> tuple[list[dict[str, float]], Any]:
    system = System(config)
    state, rows = system.initial_state() if state is None else state, []
    for iteration in range(first, iterations):
        state, metrics = system.iterate(state, iteration)
        rows.append({name: value for name, value in system.row(metrics).items() if not name.endswith("_s")})
    system.close()
    return rows, state


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)


@every_case
def test_another_process_goes_on_in_the_middle_of_a_lifetime_and_of_its_episodes(config: Config) -> None:
    rows, state = _lived(config, 5)
    early, middle = _lived(config, 3)
    late, end = _lived(config, 5, middle, 3)
    assert early + late == rows
    assert _same(end, state)
    assert state["environments"] != middle["environments"]


def test_what_is_recorded_changes_no_bit() -> None:
    for name in ("unrolled", "trace", "bootstrapped", "nothing learned", "chain"):
        plain, recorded = (_lived(replace(CASES[name], traced=traced), 3) for traced in (False, True))
        assert plain[0] == recorded[0], name
        assert _same(plain[1], recorded[1]), name


@needs_compiler
def test_what_is_compiled_is_the_same_up_to_rounding_and_resumes_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = _lived(COLOURS, 4)
    compiled = replace(COLOURS, traced=True, compiled=True)
    monkeypatch.setattr(Stepper, "step", None)  # nothing steps through numpy
    rows, state = _lived(compiled, 4)
    for one, two in zip(plain, rows, strict=True):
        assert one == pytest.approx(two, rel=1e-9)
    early, middle = _lived(compiled, 2)
    late, end = _lived(compiled, 4, middle, 2)
    assert early + late == rows
    assert _same(end, state)


def test_another_seed_lives_otherwise() -> None:
    assert _lived(COLOURS, 2)[0] != _lived(replace(COLOURS, seed=2), 2)[0]


def test_environments_that_cannot_be_stored_begin_anew_in_each_window() -> None:
    config = replace(COLOURS, environment=replace(COLOURS.environment, backend="sync"))
    rows, state = _lived(config, 4)
    early, middle = _lived(config, 2)
    assert early + _lived(config, 4, middle, 2)[0] == rows
    assert state["environments"] == ""


def test_settings_stand_side_by_side_with_the_same_seeds() -> None:
    # With a discount of 0 lambda changes nothing: both settings live the same life.
    fixed = replace(CASES["nothing learned"], gae_lambda=HyperparameterConfig([0.5, 0.6]), seeds=2)
    fixed = replace(fixed, gamma=HyperparameterConfig(0.0))
    _, state = _lived(fixed, 3)
    assert len(state["sums"]) == 4
    assert state["fixed"]["gae_lambda"].tolist() == [0.5, 0.5, 0.6, 0.6]
    seeds, alone = state["lifetimes"]["seed"], _lived(replace(fixed, gae_lambda=HyperparameterConfig(0.5)), 3)[1]
    twins = state["lifetimes"]["carry"]["params"]
    assert all(_same(leaf[:2], leaf[2:]) for leaf in twins.values())
    assert _same({name: leaf[:2] for name, leaf in twins.items()}, alone["lifetimes"]["carry"]["params"])
    assert len(set(seeds.tolist())) == 2
    varied = replace(fixed, gae_lambda=HyperparameterConfig(0.5), gamma=HyperparameterConfig([0.1, 0.9]))
    (row, *_), state = _lived(varied, 1)
    assert state["fixed"]["gamma"].tolist() == [0.1, 0.1, 0.9, 0.9]
    names = ["reward", "reward gamma=0.1", "reward gamma=0.9"]
    assert row[names[0]] == pytest.approx((row[names[1]] + row[names[2]]) / 2)
    assert {f"{names[1]}_interval95", "cumulative_reward_of_3", "cumulative_reward gamma=0.9"} <= row.keys()


def test_a_lifetime_that_diverges_begins_anew_and_nobody_else_notices(capfd: pytest.CaptureFixture[str]) -> None:
    sane = replace(CASES["nothing learned"], learning_rate=HyperparameterConfig([0.1, 0.2]), seeds=1)
    wild = replace(sane, learning_rate=HyperparameterConfig([0.1, 1e300]))
    for one, other in ((sane, wild), (_learning(sane), _learning(wild))):
        (rows, end), (told, broken) = _lived(one, 4), _lived(other, 4)
        assert [row["cumulative_reward_of_0"] for row in rows] == [row["cumulative_reward_of_0"] for row in told]
        assert all(_same(end["lifetimes"]["carry"]["params"][name][0], leaf[0]) for name, leaf in
                   broken["lifetimes"]["carry"]["params"].items())  # fmt: skip
        assert {row["diverged"] for row in told} == {1.0}
        assert broken["lifetimes"]["step"][0] > 0
        told_of = "".join(capfd.readouterr())
        assert "iteration 3: lifetime 1 (seed 0, learning_rate=1e+300, task {'blue_reward': " in told_of
        assert "lifetime 0" not in told_of


@pytest.mark.parametrize(
    ("config", "wild"),
    [
        (replace(CHEETAH, precision="float32", learner=LearnerConfig("sgd")), 0.1),
        (replace(CASES["trace"], meta=MetaConfig("trace", 1, decay=0.5)), 1e160),
    ],
    ids=["a spread that overflows", "the last update of a window"],
)
def test_a_policy_that_cannot_act_any_more_has_diverged(config: Config, wild: float) -> None:
    """Its parameters are finite, and what it makes of them is not."""
    config = replace(
        config,
        seeds=1,
        gae_lambda=HyperparameterConfig(0.9),
        entropy_weight=HyperparameterConfig(0.0),
        learning_rate=HyperparameterConfig([0.001, wild]),
    )
    rows, state = _lived(config, 8)
    assert sum(row["diverged"] for row in rows) >= 1
    assert state["lifetimes"]["step"][0] == 8 * (config.meta.rollouts - (config.meta.estimator == "bootstrapped"))
    assert all(leaf[0].isfinite().all() for leaf in state["lifetimes"]["carry"]["params"].values())


@pytest.mark.parametrize(("wild", "limit"), [(1e300, math.inf), (1e8, 1e3)], ids=["not finite", "beyond the limit"])
def test_a_learner_of_values_that_diverges_does_not_spoil_the_error_of_the_others(wild: float, limit: float) -> None:
    config = replace(CHAIN, learning_rate=HyperparameterConfig([2.0, wild]), seeds=2, loss_limit=limit)
    rows, _ = _lived(config, 3)
    alone, _ = _lived(replace(config, learning_rate=HyperparameterConfig(2.0)), 3)
    for row, other in zip(rows, alone, strict=True):
        assert row["diverged"] == 2
        assert row["value_error"] == other["value_error"] == -row["score"]
        assert row["value_error learning_rate=2"] == other["value_error"]
        assert row["value_error learning_rate=2_interval95"] == other["value_error_interval95"]
        assert math.isnan(row[f"value_error learning_rate={wild:g}"])


def _learning(config: Config) -> Config:
    return replace(config, gamma=HyperparameterConfig(0.9, "one"))


def test_learned_hyper_parameters_move_towards_what_is_good_for_them() -> None:
    still = replace(
        CHAIN, environment=EnvironmentConfig("envs:NoisyChain-v0", {"noise": 0.0, "signal": 1.0}), rollout=10
    )
    rows, _ = _lived(replace(still, meta=replace(still.meta, learning_rate=0.05)), 60)
    assert all(rows[-1][f"gamma_{state}"] > rows[0][f"gamma_{state}"] + 0.2 for state in range(1, 10))
    assert rows[-1]["value_error"] < 0.25 * rows[0]["value_error"]


def test_the_evaluation_of_a_table_is_the_error_of_its_values() -> None:
    system = System(CHAIN)
    state = system.initial_state()
    options = system.resolve(system.Options(steps=1, tasks=2, updates=3))
    evaluation = system.evaluate([state], options)
    assert evaluation.values.shape == (2, 2, 3)
    assert evaluation.measure.name == "value_error"
    frozen = replace(CHAIN, learning_rate=HyperparameterConfig(0.0))
    still = System(frozen)
    values = still.evaluate([still.initial_state()], options).values
    true = torch.tensor([0.2, 0.2, 0.1, 0.1], dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(values), true.square().mean().sqrt().expand(2, 2, 3))


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "progress.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in csv.DictReader(file)]


def test_a_run_is_trained_resumed_evaluated_and_compared(tmp_path: Path, script: Script) -> None:
    small = ["--config", str(ROOT / "configs/meta_gradient/two-colours-bootstrapped.yaml"), "--seeds", "2",
             "--policy.hidden", "[8]", "--critic.hidden", "[8]", "--meta.rollouts", "2", "--meta.target_rollouts", "2",
             "--report_every", "2", "--traced", "false"]  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert script("train", [*small, "--output", str(whole), "--iterations", "6"]) == 0
    assert script("train", [*small, "--output", str(parts), "--iterations", "4"]) == 0
    assert script("train", ["--output", str(parts), "--resume", "--iterations", "6"]) == 0
    assert _rows(whole) == _rows(parts)
    assert _rows(whole)[-1]["env_steps"] == str(6 * 4 * 16.0)
    assert (whole / "schedules.png").is_file()
    assert script("evaluate", ["--run", str(whole), "--tasks", "2", "--steps", "1", "--updates", "3"]) == 0
    assert script("compare", ["--runs", str(whole), str(parts), "--output", str(tmp_path / "page")]) == 0
    assert script("render", ["--run", str(whole), "--output", str(tmp_path / "film.gif")]) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--gamma.initial", "1.5"], "`gamma.initial` must be at most 1, got 1.5"),
        (["--gamma.initial", "1", "--gamma.learned", "one"], "must be between 0 and `limit` 1.0"),
        (["--gamma.learned", "table"], "needs one-hot observations, which envs:TwoColours-v0 has not"),
        (["--critic.table", "true"], "`critic.table`: a table has a number for each state"),
        (["--learning_rate.learned", "state"], "`learning_rate.learned` must be one of no, one, rewards"),
        (["--meta.rollouts", "1"], "`meta.rollouts` must be at least 2 with `meta.estimator` 'unrolled'"),
        (["--meta.decay", "2", "--meta.estimator", "trace"], "`meta.decay` must be in [0, 1], got 2"),
        (["--meta.loss.policy_weight", "0"], "must weigh the policy or the values"),
        (["--meta.loss.gamma", "1.1"], "`meta.loss.gamma` must be between 0 and 1"),
        (["--policy.context", "2"], "`policy.context` is for policies that adapt"),
        (["--gamma.initial", "[0.9, 0.9]"], "must not have the same value twice"),
        (["--seeds", "0"], "`seeds` must be at least 1"),
        (["--compiled", "true", "--environment.id", "envs:NoisyChain-v0"], "steps are functions of tensors"),
        (["--learner.max_norm", "0"], "`learner.max_norm` must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_before_work(
    options: list[str], told: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = str(ROOT / "configs/meta_gradient/two-colours.yaml")
    assert script("train", ["--config", preset, "--output", str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()
