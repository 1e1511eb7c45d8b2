"""An evaluation's files and its table, whatever the system measures."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maml_rl.run import evaluate
from maml_rl.run.compare import read_adaptation
from maml_rl.run.errors import RunFault
from maml_rl.run.report.gather import read_per_task
from maml_rl.systems.evaluation import Evaluation, Figure, Measure
from tests.run.run_folders import ERROR, RETURN

TASKS = [{"goal": [0.5, float(task)], "name": "left", "mass": np.float64(task)} for task in range(3)]
VALUES = np.random.default_rng(0).normal(size=(3, 3, 4)) - np.array([9.0, 4.0, 2.0])[:, None, None]


def _evaluation(measure: Measure = RETURN, **changes: Any) -> Evaluation:
    return replace(Evaluation(measure, VALUES, TASKS, protocol="4 episodes each"), **changes)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    success = np.random.default_rng(1).uniform(size=(3, 3))
    written = _evaluation(
        Measure("return", True, "sum of rewards", 2),
        axis="episodes",
        also={"success": success},
        references={"optimum": -1.0, "unknown": np.inf},
        settings={"seed": np.int64(3), "learning_rates": (0.1, np.nan)},
    )
    evaluate.write(written, tmp_path)
    read = read_adaptation(tmp_path, "a")
    assert read is not None
    means, widths = evaluate.interval(written.per_task)
    np.testing.assert_array_equal(read.means, means)
    np.testing.assert_array_equal(read.intervals, widths)
    np.testing.assert_array_equal(read.also["success"], evaluate.interval(success))
    assert (read.measure, read.axis, read.protocol) == (written.measure, "episodes", "4 episodes each")
    assert (read.task_count, read.settings) == (3, {"seed": 3, "learning_rates": [0.1, None]})
    assert read.references["optimum"] == -1
    assert np.isnan(read.references["unknown"])
    np.testing.assert_allclose(read_per_task(tmp_path, read), written.per_task)


def test_tasks_are_told_apart_by_a_digest_and_not_repeated(tmp_path: Path) -> None:
    text = '[{"goal":[0.5,1.0],"mass":2.0}]'
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert evaluate.tasks_digest([{"mass": np.float64(2), "goal": np.array([0.5, 1.0])}]) == digest
    assert evaluate.tasks_digest([{"mass": 2.5, "goal": [0.5, 1.0]}]) != digest
    evaluate.write(_evaluation(), tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["tasks"] == {"count": 3, "digest": evaluate.tasks_digest(TASKS)}


def test_arrays_have_values_other_measures_and_the_tasks_numbers(tmp_path: Path) -> None:
    evaluate.write(_evaluation(also={"success": np.ones((3, 3))}), tmp_path)
    with np.load(tmp_path / "evaluation.npz") as arrays:
        assert set(arrays) == {"values", "also_success", "task_goal", "task_mass"}
        np.testing.assert_array_equal(arrays["values"], VALUES)
        np.testing.assert_array_equal(arrays["task_goal"], [[0.5, 0], [0.5, 1], [0.5, 2]])


def test_an_evaluations_further_numbers_are_in_its_file(tmp_path: Path) -> None:
    evaluate.write(_evaluation(numbers={"ratio": [0.5, 2.0, np.nan]}), tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text())["numbers"] == {"ratio": [0.5, 2.0, None]}


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    evaluate.write(_evaluation(values=np.where(VALUES < -8, np.inf, VALUES), tasks=TASKS), tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert content["mean"][0] is None
    assert content["mean"][1] is not None


def test_an_evaluations_own_figures_are_drawn(tmp_path: Path) -> None:
    figure = Figure(lambda figure: figure.subplots().plot([0, 1]), (3, 2))
    paths = evaluate.write(_evaluation(figures={"curves.png": figure}), tmp_path)
    assert [path.name for path in paths] == ["evaluation.json", "evaluation.npz", "adaptation.png", "curves.png"]
    for name in ("adaptation.png", "curves.png"):
        with Image.open(tmp_path / name) as image:
            assert np.asarray(image).std() > 1


def test_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(RunFault, match="could not be written"):
        evaluate.write(_evaluation(), tmp_path / "nowhere")


def test_the_table_follows_the_measure() -> None:
    lines = evaluate.table(_evaluation(axis="past episodes", references={"optimum": -1.0})).splitlines()
    assert lines[0].split() == ["past", "episodes", "return", "gain", "over", "0", "episodes"]
    assert lines[1].split() == ["0", f"{VALUES[0].mean():.2f}", "+-", lines[1].split()[-1]]
    assert lines[4].split() == ["optimum", "-1.00"]
    assert lines[5] == "mean and 95% interval over 3 held-out tasks, 4 episodes each"
    lines = evaluate.table(_evaluation(ERROR, protocol="")).splitlines()
    assert lines[0].split() == ["gradient", "steps", "error", "change", "from", "0", "steps"]
    assert f"{VALUES[0].mean():.4f}" in lines[1]
    assert lines[-1] == "mean and 95% interval over 3 held-out tasks"


@pytest.mark.parametrize(("settings", "remedy"), [({}, "."), ({"learning_rates": [0.1]}, "; smaller --learning_rates")])
def test_tasks_that_diverged_are_named(settings: dict[str, Any], remedy: str) -> None:
    values = VALUES.copy()
    values[2, 1] = np.nan
    warning = evaluate.table(_evaluation(values=values, settings=settings)).splitlines()[-1]
    assert warning.startswith("warning: 1 of the tasks diverged, the first after 2 gradient steps (task 1)" + remedy)
