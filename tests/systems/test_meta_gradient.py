"""Meta-gradient reinforcement learning as a whole: seeds side by side, exact resume, divergence, settings, errors."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.online.actor_critic import CriticConfig
from maml_rl.rl.online.collect import Collector
from maml_rl.rl.online.hyperparameters import HyperparameterConfig
from maml_rl.rl.online.learner import LearnerConfig
from maml_rl.rl.sampling.stepping import Stepper
from maml_rl.run.evaluate import table
from maml_rl.systems.meta_gradient import Config, System
from maml_rl.systems.meta_gradient_config import MetaConfig
from tests.compiler import needs_compiler
from tests.systems.short_lifetimes import CASES, CHAIN, CHEETAH, COLOURS, lived, same

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str, list[str]], int]
every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES)


@every_case
def test_another_process_goes_on_in_the_middle_of_a_lifetime_and_of_its_episodes(config: Config) -> None:
    rows, state = lived(config, 5)
    early, middle = lived(config, 3)
    late, end = lived(config, 5, middle, 3)
    assert early + late == rows
    assert same(end, state)
    assert state["environments"] != middle["environments"]


def test_what_is_recorded_changes_no_bit() -> None:
    for name in ("trace", "bootstrapped", "chain"):
        plain, recorded = (lived(replace(CASES[name], traced=traced), 3) for traced in (False, True))
        assert plain[0] == recorded[0], name
        assert same(plain[1], recorded[1]), name


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore:.*_prims_common.*:FutureWarning")  # inside TorchInductor
def test_what_is_compiled_is_the_same_up_to_rounding_and_resumes_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = lived(COLOURS, 4)
    compiled = replace(COLOURS, traced=True, compiled=True)
    monkeypatch.setattr(Stepper, "step", None)  # nothing steps through numpy
    rows, state = lived(compiled, 4)
    for one, two in zip(plain, rows, strict=True):
        assert one == pytest.approx(two, rel=1e-9)
    early, middle = lived(compiled, 2)
    late, end = lived(compiled, 4, middle, 2)
    assert early + late == rows
    assert same(end, state)


def test_another_seed_lives_otherwise() -> None:
    assert lived(COLOURS, 2)[0] != lived(replace(COLOURS, seed=2), 2)[0]


def test_environments_that_cannot_be_stored_begin_anew_in_each_window() -> None:
    config = replace(COLOURS, environment=replace(COLOURS.environment, backend="sync"))
    rows, state = lived(config, 4)
    early, middle = lived(config, 2)
    assert early + lived(config, 4, middle, 2)[0] == rows
    assert state["environments"] == ""


def test_settings_stand_side_by_side_with_the_same_seeds() -> None:
    # With a discount of 0 lambda changes nothing: both settings live the same life.
    fixed = replace(CASES["nothing learned"], gae_lambda=HyperparameterConfig([0.5, 0.6]), seeds=2)
    fixed = replace(fixed, gamma=HyperparameterConfig(0.0))
    _, state = lived(fixed, 3)
    assert len(state["sums"]) == 4
    assert state["fixed"]["gae_lambda"].tolist() == [0.5, 0.5, 0.6, 0.6]
    seeds, alone = state["lifetimes"]["seed"], lived(replace(fixed, gae_lambda=HyperparameterConfig(0.5)), 3)[1]
    twins = state["lifetimes"]["carry"]["params"]
    assert all(same(leaf[:2], leaf[2:]) for leaf in twins.values())
    assert same({name: leaf[:2] for name, leaf in twins.items()}, alone["lifetimes"]["carry"]["params"])
    assert len(set(seeds.tolist())) == 2
    varied = replace(fixed, gae_lambda=HyperparameterConfig(0.5), gamma=HyperparameterConfig([0.1, 0.9]))
    (row, *_), state = lived(varied, 1)
    assert state["fixed"]["gamma"].tolist() == [0.1, 0.1, 0.9, 0.9]
    names = ["reward", "reward gamma=0.1", "reward gamma=0.9"]
    assert row[names[0]] == pytest.approx((row[names[1]] + row[names[2]]) / 2)
    assert {f"{names[1]}_interval95", "cumulative_reward_of_3", "cumulative_reward gamma=0.9"} <= row.keys()


def test_a_lifetime_that_diverges_begins_anew_and_nobody_else_notices(capfd: pytest.CaptureFixture[str]) -> None:
    sane = replace(CASES["nothing learned"], learning_rate=HyperparameterConfig([0.1, 0.2]), seeds=1)
    wild = replace(sane, learning_rate=HyperparameterConfig([0.1, 1e300]))
    for one, other in ((sane, wild), (_learning(sane), _learning(wild))):
        (rows, end), (told, broken) = lived(one, 4), lived(other, 4)
        assert [row["cumulative_reward_of_0"] for row in rows] == [row["cumulative_reward_of_0"] for row in told]
        assert all(same(end["lifetimes"]["carry"]["params"][name][0], leaf[0]) for name, leaf in
                   broken["lifetimes"]["carry"]["params"].items())  # fmt: skip
        assert {row["diverged"] for row in told} == {1.0}
        assert broken["lifetimes"]["step"][0] > 0
        told_of = "".join(capfd.readouterr())
        assert "iteration 3: lifetime 1 (the 1st of 1 seeds, learning_rate=1e+300) diverged on task {'blue_" in told_of
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
    rows, state = lived(config, 8)
    assert sum(row["diverged"] for row in rows) >= 1
    assert state["lifetimes"]["step"][0] == 8 * config.meta.rollouts
    assert all(leaf[0].isfinite().all() for leaf in state["lifetimes"]["carry"]["params"].values())


def test_an_update_that_failed_while_collecting_ends_the_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data behind it are those of the policy before, whatever the estimator makes of the update."""
    config = replace(CASES["unrolled"], seeds=3)
    collect = Collector.collect

    def failing(self: Collector, *arguments: Any) -> Any:
        return collect(self, *arguments)._replace(finite=torch.tensor([True, False, True]))

    _, sane = lived(config, 1)
    monkeypatch.setattr(Collector, "collect", failing)
    rows, state = lived(config, 1)
    assert rows[0]["diverged"] == 1
    assert state["lifetimes"]["step"].tolist() == [3, 0, 3]
    start = System(config).initial_state()["meta"]
    for group, leaves in state["meta"].items():
        for name, leaf in leaves.items():
            assert torch.equal(leaf[1], start[group][name][1])
            assert torch.equal(leaf[[0, 2]], sane["meta"][group][name][[0, 2]])
    assert not torch.equal(state["meta"]["gamma"]["logits"], start["gamma"]["logits"])


@pytest.mark.parametrize(("wild", "limit"), [(1e300, math.inf), (1e8, 1e3)], ids=["not finite", "beyond the limit"])
def test_a_learner_of_values_that_diverges_does_not_spoil_the_error_of_the_others(wild: float, limit: float) -> None:
    config = replace(CHAIN, learning_rate=HyperparameterConfig([2.0, wild]), seeds=2, loss_limit=limit)
    rows, _ = lived(config, 3)
    alone, _ = lived(replace(config, learning_rate=HyperparameterConfig(2.0)), 3)
    for row, other in zip(rows, alone, strict=True):
        assert row["diverged"] == 2
        assert row["value_error"] == other["value_error"]
        assert row["value_error learning_rate=2"] == other["value_error"]
        assert row["value_error learning_rate=2_interval95"] == other["value_error_interval95"]
        assert math.isnan(row[f"value_error learning_rate={wild:g}"])


def _learning(config: Config) -> Config:
    return replace(config, gamma=HyperparameterConfig(0.9, "one"))


def test_learned_hyper_parameters_move_towards_what_is_good_for_them() -> None:
    still = replace(
        CHAIN, environment=EnvironmentConfig("envs:NoisyChain-v0", {"noise": 0.0, "signal": 1.0}), rollout=10
    )
    rows, _ = lived(replace(still, meta=replace(still.meta, learning_rate=0.05)), 60)
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


def test_settings_are_evaluated_beside_each_other_and_failures_cost_their_own(
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = replace(CASES["nothing learned"], learning_rate=HyperparameterConfig([0.1, 1e300]), seeds=2)
    both, alone = System(config), System(replace(config, learning_rate=HyperparameterConfig(0.1)))
    options = both.resolve(both.Options(steps=1, tasks=3, updates=3))
    evaluation, expected = (each.evaluate([each.initial_state()], options) for each in (both, alone))
    assert evaluation.values.shape == (2, 3, 4)
    names = ["learning_rate=0.1", "learning_rate=1e+300"]
    assert list(evaluation.also) == names
    assert (evaluation.also[names[0]] == expected.per_task).all()
    assert np.isnan(evaluation.also[names[1]]).all()
    assert (evaluation.per_task == expected.per_task).all()
    assert not expected.also
    told = "".join(capfd.readouterr())
    assert (
        "segment 0: a learner with the hyper-parameters of lifetime 2 (the 1st of 2 seeds, learning_rate=1e+300)"
        in told
    )
    assert "lifetime 0" not in told
    assert "of the tasks diverged in some of the repetitions, which are left out" in table(evaluation)


def test_settings_are_evaluated_with_the_same_tasks_seeds_and_first_weights() -> None:
    # With a discount of 0 lambda changes nothing: both settings live the same life.
    config = replace(CASES["nothing learned"], gae_lambda=HyperparameterConfig([0.5, 0.6]), seeds=2)
    system = System(replace(config, gamma=HyperparameterConfig(0.0)))
    options = system.resolve(system.Options(steps=1, tasks=2, updates=30))
    values = system.evaluate([system.initial_state()], options).values
    assert (values[..., :2] == values[..., 2:]).all()
    assert len(np.unique(values[0])) > 2


def test_a_learner_that_diverged_stays_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins anew, and what it does then is another lifetime."""
    lived_on, calls = Collector.lived_on, []

    def failing(self: Collector, *arguments: Any) -> Any:
        memory, finite = lived_on(self, *arguments)
        calls.append(finite)
        return memory, finite & (torch.arange(len(finite)) != 1) if len(calls) == 2 else finite

    monkeypatch.setattr(Collector, "lived_on", failing)
    system = System(CASES["nothing learned"])
    options = system.resolve(system.Options(steps=3, tasks=1, updates=2))
    values = system.evaluate([system.initial_state()], options).values[:, 0]
    assert np.isnan(values).tolist() == [[False] * 3, *[[False, True, False]] * 3]


def test_the_interval_of_a_sum_is_that_at_the_rows_end() -> None:
    rows, state = lived(COLOURS, 3)
    low, high = stats.t.interval(0.95, 2, float(state["sums"].mean()), stats.sem(state["sums"].numpy()))
    assert rows[-1]["cumulative_reward_interval95"] == pytest.approx((high - low) / 2, rel=1e-6)


def test_what_has_no_effect_is_remarked() -> None:
    vain = replace(
        CHAIN, gae_lambda=HyperparameterConfig(1.0, limit=0.7, hidden=[99]), critic=CriticConfig([9], table=True)
    )
    remarks = " ".join(vain.remarks())
    for option in ("`gae_lambda.limit` 0.7", "`gae_lambda.hidden` [99]", "`critic.hidden` [9]"):
        assert f"{option} has no effect" in remarks
    assert not COLOURS.remarks()


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "progress.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in csv.DictReader(file)]


@pytest.mark.parametrize("way", ["plain", pytest.param("compiled", marks=[needs_compiler, pytest.mark.slow])])
def test_a_run_is_trained_resumed_evaluated_and_compared(way: str, tmp_path: Path, script: Script) -> None:
    small = ["--config", str(ROOT / "configs/meta_gradient/two-colours-bootstrapped.yaml"), "--seeds", "2",
             "--policy.hidden", "[8]", "--critic.hidden", "[8]", "--meta.rollouts", "2", "--meta.target_rollouts", "2",
             "--report_every", "2", "--traced", "false", "--compiled", str(way == "compiled").lower()]  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert script("train", [*small, "--output", str(whole), "--iterations", "6"]) == 0
    assert script("train", [*small, "--output", str(parts), "--iterations", "4"]) == 0
    assert script("train", ["--output", str(parts), "--resume", "--iterations", "6"]) == 0
    assert _rows(whole) == _rows(parts)
    assert _rows(whole)[-1]["env_steps"] == str(6 * 4 * 16.0)
    states = [torch.load(run / "checkpoints" / "last.pt", weights_only=True)["state"] for run in (whole, parts)]
    assert same(*states)
    assert not (whole / "checkpoints" / "best.pt").exists()  # what lives on is better later
    assert (whole / "schedules.png").is_file()
    assert script("evaluate", ["--run", str(whole), "--tasks", "2", "--steps", "1", "--updates", "3"]) == 0
    assert script("compare", ["--runs", str(whole), str(parts), "--output", str(tmp_path / "page")]) == 0
    assert script("render", ["--run", str(whole), "--output", str(tmp_path / "film.gif")]) == 2
