"""Meta-World's ML1 and ML10: its own classes, tasks and success, where the package is installed."""

import json
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

metaworld = pytest.importorskip("metaworld", reason="needs metaworld in an environment of its own: make test-metaworld")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_steps_are_meta_worlds_own() -> None:
    own = metaworld.ML1("reach-v3", seed=0)
    for split, tasks in (("train", own.train_tasks), ("test", own.test_tasks)):
        env = gym.make("envs:MetaWorldML1-v0", split=split).unwrapped
        theirs = own.train_classes["reach-v3"]()
        theirs.set_task(tasks[7])
        expected, _ = theirs.reset(seed=3)
        env.set_task({"environment": "reach-v3", "goal": 7})
        observation, _ = env.reset(seed=3)
        assert np.array_equal(observation, expected)
        assert observation[-3:].tolist() == [0.0] * 3  # the goal is hidden
        rng = np.random.default_rng(0)
        for _ in range(60):
            action = rng.uniform(-1, 1, 4)
            expected, their_reward, _, _, info = theirs.step(action)
            observation, reward, _, _, ours = env.step(action)
            assert np.array_equal(observation, expected)
            assert reward == their_reward
            assert ours["success"] == info["success"]


def test_splits_are_the_benchmarks() -> None:
    for split, count in (("train", 10), ("test", 5)):
        env = gym.make("envs:MetaWorldML10-v0", split=split).unwrapped
        own = metaworld.ML10(seed=0)
        classes = own.train_classes if split == "train" else own.test_classes
        drawn = env.sample_tasks(400, np.random.default_rng(0))
        assert {task["environment"] for task in drawn} == set(classes)
        assert len(classes) == count
        assert {task["goal"] for task in drawn} == set(range(50))
    with pytest.raises(ValueError, match="environment must be one of"):
        env.set_task({"environment": "reach-v3", "goal": 0})
    with pytest.raises(ValueError, match="goal must be within 0 and 49"):
        env.set_task({**drawn[0], "goal": 50})


def test_it_has_no_fault() -> None:
    from maml_rl.rl.environments.checking import check_task_env

    findings = check_task_env("envs:MetaWorldML1-v0")
    assert [finding for finding in findings if finding.serious or "render" in finding.text] == []


def test_it_trains_on_one_split_and_is_evaluated_on_the_other(
    tmp_path: Path, script: Callable[[str, list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(__file__).resolve().parents[2] / "configs/maml_trpo/meta-world-ml1-reach.yaml"
    run = tmp_path / "run"
    small = ["--tasks", "2", "--episodes", "2", "--iterations", "1", "--environment.arguments", '{"horizon": 20}']
    assert script("train", ["--config", str(config), "--output", str(run), *small, "--torch_threads", "1"]) == 0
    assert "success_step_1" in (run / "progress.csv").read_text().splitlines()[0]
    assert script("evaluate", ["--run", str(run), "--tasks", "3", "--episodes", "2", "--steps", "1"]) == 0
    assert "success" in capsys.readouterr().out
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["held_out"] == {"split": "test"}
    picture = tmp_path / "reach.png"
    assert script("render", ["--run", str(run), "--steps", "0", "1", "--output", str(picture)]) == 0
    with Image.open(picture) as opened:
        assert np.asarray(opened).std() > 10
    assert len(evaluation["success_mean"]) == 2


def test_ml10_trains_on_its_classes_and_is_evaluated_on_others(
    tmp_path: Path, script: Callable[[str, list[str]], int]
) -> None:
    run = tmp_path / "run"
    argv = ["--environment.id", "envs:MetaWorldML10-v0", "--environment.arguments", "{horizon: 15}", "--tasks", "3",
            "--environment.held_out", "{split: test}", "--episodes", "1", "--iterations", "1"]  # fmt: skip
    assert script("train", [*argv, "--output", str(run)]) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "4", "--episodes", "1", "--steps", "1"]) == 0
    names = {task["environment"] for task in json.loads((run / "evaluation.json").read_text())["tasks"]}
    assert names <= set(metaworld.ML10(seed=0).test_classes)
