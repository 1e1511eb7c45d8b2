"""Every configuration that is shipped trains and evaluates, at a small size."""

import os
from pathlib import Path

import pytest
import yaml

from tests.run.script_runs import ROOT, Script, write_classes

PRESETS = {path: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "configs").rglob("*.yaml"))}
SUPERVISED = [path for path, content in PRESETS.items() if content.get("system") == "maml"]
META_GRADIENT = [path for path, content in PRESETS.items() if content.get("system") == "meta_gradient"]
LEARNED = [path for path, content in PRESETS.items() if content.get("system") == "learned_optimiser"]
SEARCHES = [path for path, content in PRESETS.items() if content.get("system") == "optimiser_search"]
SYNAPTIC = [path for path, content in PRESETS.items() if content.get("system") == "synaptic_rule"]
OTHERS = ("maml", "meta_gradient", "learned_optimiser", "optimiser_search", "synaptic_rule")
POLICIES = [path for path, content in PRESETS.items() if content.get("system", "maml") not in OTHERS]


def _name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def test_every_configuration_is_one_of_a_system_or_of_a_sweep() -> None:
    others = PRESETS.keys() - {*SUPERVISED, *META_GRADIENT, *LEARNED, *SEARCHES, *SYNAPTIC, *POLICIES}
    assert len(others) >= 1
    assert all(path.parent.name == "sweeps" for path in others)


@pytest.mark.parametrize("path", POLICIES, ids=_name)
def test_policies(path: Path, tmp_path: Path, script: Script) -> None:
    if path.stem.startswith("meta-world"):
        pytest.importorskip("metaworld", reason="needs metaworld in an environment of its own: make test-metaworld")
    run = str(tmp_path / "run")
    small = ["--tasks", "2", "--episodes", "2", "--iterations", "1", "--environment.arguments.horizon", "5"]
    assert script("train", ["--config", str(path), "--output", run, *small]) == 0
    assert script("evaluate", ["--run", run, "--tasks", "2", "--episodes", "2", "--steps", "2"]) == 0


@pytest.mark.parametrize("path", META_GRADIENT, ids=_name)
def test_meta_gradients(path: Path, tmp_path: Path, script: Script) -> None:
    run = str(tmp_path / "run")
    small = ["--seeds", "2", "--iterations", "2", "--report_every", "1", "--traced", "false"]
    assert script("train", ["--config", str(path), "--output", run, *small]) == 0
    assert (tmp_path / "run" / "schedules.png").is_file()
    assert script("evaluate", ["--run", run, "--tasks", "2", "--steps", "1", "--updates", "2"]) == 0


@pytest.mark.parametrize("path", LEARNED, ids=_name)
def test_learned_optimisers(path: Path, tmp_path: Path, script: Script) -> None:
    run = str(tmp_path / "run")
    small = ["--lifetimes", "2", "--length", "4", "--meta.unroll", "2", "--iterations", "2", "--report_every", "1"]
    assert script("train", ["--config", str(path), "--output", run, *small, "--traced", "false"]) == 0
    few = ["--problems", "[bowl]", "--horizon", "20", "--tasks", "2", "--steps", "2"]
    assert script("evaluate", ["--run", run, *few]) == 0
    assert (tmp_path / "run" / "trainings.png").is_file()


@pytest.mark.parametrize("path", SEARCHES, ids=_name)
def test_searches(path: Path, tmp_path: Path, script: Script) -> None:
    run = str(tmp_path / "run")
    small = ["--batch", "4", "--iterations", "2", "--child.steps", "3", "--report_every", "1"]
    assert script("train", ["--config", str(path), "--output", run, *small]) == 0
    few = ["--problems", "[bowl]", "--horizon", "20", "--programs", "1"]
    assert script("evaluate", ["--run", run, "--tasks", "1", "--steps", "2", *few]) == 0
    assert (tmp_path / "run" / "trainings.png").is_file()


@pytest.mark.parametrize("path", SYNAPTIC, ids=_name)
def test_synaptic_rules(path: Path, tmp_path: Path, script: Script) -> None:
    if yaml.safe_load(path.read_text())["meta"]["optimiser"] == "cma_es":
        pytest.importorskip("cmaes")
    run = str(tmp_path / "run")
    small = ["--lifetimes", "2", "--presentations", "10", "--iterations", "1", "--traced", "false"]
    assert script("train", ["--config", str(path), "--output", run, *small]) == 0
    assert script("evaluate", ["--run", run, "--tasks", "2", "--steps", "2", "--weights", "2"]) == 0
    assert (tmp_path / "run" / "rule.png").is_file()


@pytest.mark.parametrize("path", SUPERVISED, ids=_name)
def test_supervised(path: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["--tasks", "2", "--iterations", "1", "--test.validation_tasks", "2"]
    if "omniglot" in path.stem:
        if not os.environ.get("MAML_RL_OMNIGLOT"):
            pytest.skip("MAML_RL_OMNIGLOT names no folder with the real images")
        small += ["--data", os.environ["MAML_RL_OMNIGLOT"], "--network.filters", "4"]
    if "imagenet" in path.stem:
        monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
        small += ["--data", str(write_classes(tmp_path / "images")), "--network.filters", "4"]
    run = str(tmp_path / "run")
    assert script("train", ["--config", str(path), "--output", run, *small]) == 0
    assert script("evaluate", ["--run", run, "--tasks", "2", "--steps", "2"]) == 0
