"""What run folders say of themselves: what is read, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from maml_rl.run.compare import read_adaptation, read_learning, require_alike, seconds_by_part
from maml_rl.run.errors import UsageError
from maml_rl.run.progress import read_progress
from maml_rl.systems.evaluation import Measure
from tests.run.run_folders import ACCURACY, ERROR, RETURN, change_json, write_evaluation, write_training

VALIDATED = "iteration,meta_loss,drawing_s,iteration_s,validation_error\n9,1,.1,2,nan\n19,1,.1,3,0.5\n"
RETURNS = "iteration,return_after,sampling_s,meta_update_s,steps_per_s\n0,-5,20,40,999\n1,-4,30,90,999\n"


def _progress(folder: Path, text: str, measure: Measure = RETURN, curve: str = "return_after", *totals: str) -> Path:
    write_training(folder, measure, curve, totals)
    (folder / "progress.csv").write_text(text)
    return folder


def test_time_is_the_sum_over_iterations(tmp_path: Path) -> None:
    curve = read_learning(_progress(tmp_path / "a", VALIDATED, ERROR, "validation_error"), "a")
    assert curve is not None
    # Ten iterations of 2 s and ten of 3 s; drawing is a part of an iteration.
    np.testing.assert_allclose(curve.minutes, [50 / 60])
    assert (curve.label, curve.iterations.tolist(), curve.values.tolist()) == ("validation error", [20], [0.5])
    curve = read_learning(_progress(tmp_path / "b", RETURNS), "b")
    assert curve is not None
    np.testing.assert_allclose(curve.minutes, [1, 3])
    assert (curve.label, curve.values.tolist()) == ("return after", [-5, -4])


def test_the_columns_are_those_that_metrics_name(tmp_path: Path) -> None:
    text = "iteration,loss,words,pages,validation_error\n0,3,10,1,9\n1,1,20,2,9\n2,2,30,3,9\n"
    loss = Measure("perplexity", False)
    curve = read_learning(_progress(tmp_path, text, loss, "loss", "words", "pages"), "a")
    assert curve is not None
    assert {name: values.tolist() for name, values in curve.totals.items()} == {
        "words": [10, 20, 30],
        "pages": [1, 2, 3],
    }
    assert (curve.label, curve.best, curve.measure) == ("loss", 1, loss._replace(label="perplexity"))
    change_json(tmp_path / "metrics.json", higher_is_better=True)
    higher = read_learning(tmp_path, "a")
    assert higher is not None
    assert higher.best == 3


def test_a_run_of_an_older_version_is_one_clear_line(tmp_path: Path) -> None:
    folder = _progress(tmp_path / "a", RETURNS)
    (folder / "metrics.json").unlink()
    with pytest.raises(UsageError, match=r"no metrics.json: the run was made by an older version, train it again"):
        read_learning(folder, "a")
    (folder / "evaluation.json").write_text(json.dumps({"return_mean": [1.0], "return_interval95": [0.1], "tasks": []}))
    with pytest.raises(UsageError, match=r"written by an older version: evaluate the run again"):
        read_adaptation(folder, "a")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"measure": "return"}', '{"measure": "a", "higher_is_better": "yes", "learning_curve": "b"}'],
)
def test_damaged_metrics_are_told(tmp_path: Path, content: str) -> None:
    folder = _progress(tmp_path / "a", RETURNS)
    (folder / "metrics.json").write_text(content)
    with pytest.raises(UsageError, match=r"metrics.json is damaged"):
        read_learning(folder, "a")


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'env_steps'"):
        read_learning(_progress(tmp_path / "a", RETURNS, RETURN, "return_after", "env_steps"), "a")


@pytest.mark.parametrize("half", ["2,-3,30", "2,-3,30,9", "2,-3,30,90,99", "2"])
def test_a_half_written_row_is_left_out(tmp_path: Path, half: str) -> None:
    folder = _progress(tmp_path / "a", RETURNS + half)
    curve, progress = read_learning(folder, "a"), read_progress(folder)
    assert curve is not None
    assert progress is not None
    assert curve.values.tolist() == [-5, -4]
    assert progress.half_written


def test_parts_of_the_time_do_not_overlap(tmp_path: Path) -> None:
    text = VALIDATED.replace("validation_error", "validation_s")  # validation took half a second
    progress = read_progress(_progress(tmp_path / "a", text))
    assert progress is not None
    parts = seconds_by_part(progress.rows)
    assert parts == pytest.approx({"drawing": 0.1, "rest of the iteration": 2.4, "validation": 0.5 / 20})
    progress = read_progress(_progress(tmp_path / "b", RETURNS))
    assert progress is not None
    assert seconds_by_part(progress.rows) == {"sampling": 25.0, "meta update": 65.0}


def test_a_single_tasks_interval_is_unknown(tmp_path: Path) -> None:
    adaptation = read_adaptation(write_evaluation(tmp_path / "a", ERROR, np.array([[2.0], [1.0]])), "a")
    assert adaptation is not None
    assert np.isnan(adaptation.intervals).all()
    assert adaptation.means.tolist() == [2, 1]


@pytest.mark.parametrize("changes", [{"mean": [1.0]}, {"mean": "x"}, {"tasks": 3}, {"also": [1]}, {"settings": 1}])
def test_damaged_evaluations_are_told(tmp_path: Path, changes: dict[str, object]) -> None:
    path = write_evaluation(tmp_path, ERROR, np.ones((2, 3))) / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UsageError, match=r"evaluation.json is damaged"):
        read_adaptation(tmp_path, "a")


def test_unlike_measures_are_refused(tmp_path: Path) -> None:
    learning = read_learning(_progress(tmp_path / "a", VALIDATED, ERROR, "validation_error"), "a")
    same = read_adaptation(write_evaluation(tmp_path / "b", ERROR, np.ones((2, 3))), "b")
    other = read_adaptation(write_evaluation(tmp_path / "c", ACCURACY, np.ones((2, 3))), "c")
    assert learning is not None
    assert same is not None
    assert other is not None
    require_alike([learning], [same])
    with pytest.raises(UsageError, match="they measure different things: error in a, accuracy in c"):
        require_alike([learning], [other])
