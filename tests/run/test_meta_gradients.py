"""The study of meta-gradient estimators: its exact value, its figures, its refusals."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.tabular_mdp import random_return, tabular_mdp
from maml_rl.core.tree import flatten
from maml_rl.rl.policies import categorical_mlp

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str, list[str]], int]


@pytest.fixture(scope="module")
def study() -> Any:
    spec = importlib.util.spec_from_file_location("meta_gradients", ROOT / "scripts/meta_gradients.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_exact_value_of_a_uniform_policy_is_the_environments_own(study: Any) -> None:
    policy = categorical_mlp(10, 5, hidden=())
    like = {name: torch.zeros_like(leaf) for name, leaf in policy.initial(torch.Generator(), torch.float64).items()}
    (task,) = tabular_mdp().distribution.sample_tasks(1, np.random.default_rng(3))
    process = study.Process(task, policy, like)
    assert float(process.value(flatten(like))) == pytest.approx(random_return(task, 10), rel=1e-12)
    generator = torch.Generator().manual_seed(0)
    baseline = torch.stack(process.values(flatten(like)))
    batch = process.sample(flatten(like), torch.zeros_like(baseline), 20_000, generator)
    returns = batch.advantages.view(20_000, 10)[:, 0]
    assert float(returns.mean()) == pytest.approx(random_return(task, 10), abs=4 * float(returns.std()) / 20_000**0.5)
    quiet = process.sample(flatten(like), baseline, 20_000, generator).advantages.view(20_000, 10)
    assert float(quiet.mean(0).abs().max()) < 0.1
    assert float(quiet.std()) < float(returns.std())


def test_unbiased_estimators_miss_by_chance_alone_and_first_order_by_more(study: Any) -> None:
    options = study.Options(repetitions=150, tasks=1, episodes=200, learning_rate=1.0, seed=1)
    figures = study._processes(options, {name: study.ESTIMATORS[name] for name in ("dice", "first_order")})
    assert figures["dice"]["bias"] < 2 * figures["dice"]["bias by chance"] + 0.05
    assert figures["first_order"]["bias"] > 0.2
    assert figures["first_order"]["spread"] < figures["dice"]["spread"]


def test_it_writes_what_it_measured_of_processes_and_of_runs(tmp_path: Path, script: Script) -> None:
    assert script("meta_gradients", ["--repetitions", "2", "--tasks", "1", "--json", str(tmp_path / "a.json")]) == 0
    written = json.loads((tmp_path / "a.json").read_text())
    assert set(written["estimators"]) == {"log_probability", "likelihood_ratio", "dice", "e_maml", "first_order"}
    small = ["--tasks", "2", "--episodes", "3", "--iterations", "0", "--environment.arguments", "{horizon: 6}"]
    run = str(tmp_path / "run")
    assert script("train", ["--output", run, *small]) == 0
    argv = ["--run", run, "--repetitions", "2", "--estimators", "dice", "first_order"]
    assert script("meta_gradients", [*argv, "--json", str(tmp_path / "b.json")]) == 0
    assert set(json.loads((tmp_path / "b.json").read_text())["estimators"]["dice"]) == {
        "bias", "bias by chance", "spread", "cosine",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--estimators", "fancy"], "there is no estimator 'fancy'"),
        (["--repetitions", "1"], "`repetitions` must be at least 2"),
        (["--run", "nowhere"], "is not a run folder"),
    ],
)
def test_bad_input_is_one_line(
    argv: list[str], message: str, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script("meta_gradients", argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--system", "rl2", "--ppo.minibatches", "1"], "has no policy that adapts by gradient steps"),
        (["--inner.steps", "0", "--episodes", "2"], "was trained without inner steps"),
    ],
    ids=["recurrent", "no steps"],
)
def test_runs_without_gradient_steps_are_refused(
    argv: list[str], message: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--tasks", "2", "--iterations", "0", "--environment.arguments", "{horizon: 4}"]
    assert script("train", ["--output", str(tmp_path / "run"), *argv, *small]) == 0
    capsys.readouterr()
    assert script("meta_gradients", ["--run", str(tmp_path / "run"), "--repetitions", "2"]) == 2
    assert message in capsys.readouterr().err
