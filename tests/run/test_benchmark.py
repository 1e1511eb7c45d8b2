"""The benchmark's sections and keys, on sizes that take a second."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("small_benchmark", ROOT / "scripts/benchmark.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.TASKS, module.EPISODES, module.STEPS, module.COUNT = 4, 4, 6, 16
    speed = module.supervised_speed
    speed.SINE_TASKS, speed.SINE_ITERATIONS, speed.IMAGE_TASKS = 3, 2, 2
    lives = module.lifetime_speed
    lives.COUNTS, lives.LOOPED, lives.ROLLOUTS, lives.STEPS, lives.OBSERVATIONS = (2, 3), 2, 3, 4, 5
    module.optimiser_speed.WIDTH, module.optimiser_speed.STEPS = 16, 2
    module.child_speed.PROGRAMS, module.child_speed.STEPS, module.child_speed.LOOPED = 3, 2, 1
    return module


def test_figures_are_printed_and_written(benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    assert benchmark.main(["--repetitions", "1", "--threads", "1", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    printed = capsys.readouterr().out
    wanted = {
        "half_cheetah": {"raw_rollout", "vector_env", "sync_vector_env", "sampler", "vector_env_per_raw",
                         "sync_vector_env_per_raw", "sampler_per_raw", "sb3_vec_env_per_raw"},
        "environments": {f"{name}_{part}" for name in ("AntGoal", "HopperRandParams", "HalfCheetahDir")
                         for part in ("raw_rollout", "vector_env_per_raw", "sampler_per_raw")},
        "meta_update": {"surrogate_gradient_s", "curvature_product_s", "meta_iteration_s", "env_steps",
                        "peak_memory_mb"},
        "sinusoid": {"maml_rl", "hand_written", "loop_over_tasks", "maml_rl_per_hand_written", "maml_rl_per_loop"},
        "few_shot_images": {"iteration_s", "drawing_s", "floor_s", "iteration_per_floor", "drawing_share"},
        "lifetimes": {"maml_rl_2", "maml_rl_3", "hand_written_2", "loop_2", "estimator_loop_2", "maml_rl_per_loop_2",
                      "maml_rl_per_estimator_loop_2", "maml_rl_per_hand_written_2", "maml_rl_per_hand_written_3"},
        "optimisers": {"adam_ms", "learned_ms", "gradient_ms", "learned_per_adam", "tensor_by_tensor_per_learned",
                       "training_step_per_adams"},
        "children": {"maml_rl", "mapped", "loop", "maml_rl_per_loop", "maml_rl_per_mapped"},
    }  # fmt: skip
    for section, keys in wanted.items():
        assert keys <= figures[section].keys()
        assert all(figures[section][key] > 0 for key in keys)
        assert all(key in printed for key in keys)
    cheetah = figures["half_cheetah"]
    assert cheetah["sampler_per_raw"] == pytest.approx(cheetah["sampler"] / cheetah["raw_rollout"])
    assert figures["meta_update"]["env_steps"] == 2 * 16 * 6
    assert figures["machine"]["threads"] == 1
    assert "torch" in figures["versions"]


def test_lifetimes_that_are_compared_have_the_same_meta_gradients(benchmark: Any) -> None:
    speed = benchmark.lifetime_speed
    drawn = speed.case(2, torch.float64, "cpu")
    expected = speed.by_estimator(2, traced=True, dtype=torch.float64)(drawn)
    alone = speed.by_estimator(1, traced=False, dtype=torch.float64)
    assert min(float(leaf.abs().max()) for leaf in expected.values()) > 1e-7
    for way in (speed.by_autograd, speed.one_by_one(speed.by_autograd), speed.one_by_one(alone)):
        torch.testing.assert_close(way(drawn), expected, rtol=1e-9, atol=1e-14)


def test_lifetimes_are_not_timed_where_a_loop_computes_something_else(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark.lifetime_speed, "META_ENTROPY", 0.13)  # the hand-written loops read it, ours does not
    with pytest.raises(AssertionError, match="not close"):
        benchmark.lifetime_speed.lifetimes("cpu", 1)


def test_children_are_not_timed_where_a_loop_computes_something_else(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = benchmark.child_speed.looped
    monkeypatch.setattr(benchmark.child_speed, "looped", lambda problem, few, steps: whole(problem, few, steps + 1))
    with pytest.raises(AssertionError, match="not close"):
        benchmark.child_speed.children_speed("cpu", 1)


@pytest.mark.parametrize(
    "argv", [["--device", "tpu"], ["--threads", "0"], ["--repetitions", "many"], ["--sections", "[speed]"]]
)
def test_wrong_options_are_refused(benchmark: Any, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from maml_rl.run.cli import exit_code

    assert exit_code(benchmark.main, argv) == 2
    assert capsys.readouterr().err.startswith("error: ")
