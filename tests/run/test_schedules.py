"""Courses of metrics over training: their picture in the run folder, and their charts on the page of compared runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from maml_rl.run import schedules
from maml_rl.run.folder import RunFolder
from maml_rl.run.progress import read_columns, read_progress
from maml_rl.run.report import comparison, pictures
from maml_rl.run.report.gather import gather
from maml_rl.run.report.groups import grouped
from maml_rl.run.report.section import Chart
from maml_rl.run.report.sections import sections
from maml_rl.run.schedules import draw_schedules, evenly_chosen
from maml_rl.run.train import train
from maml_rl.run.training_run import TrainingRun
from maml_rl.systems.registry import registered
from tests.run.discounts import Config, System, discount


def _trained(path: Path, config: Config, said: list[str] | None = None) -> Path:
    system = System(config)
    folder = RunFolder.create(path, registered("tests.run.discounts"), system)
    train(TrainingRun(system, folder, system.initial_state()), (said if said is not None else []).append)
    return path


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Those that are drawn, before they are files."""
    made = list[Figure]()

    def keep(draw: Any, size: tuple[float, float], path: Path) -> Path:
        made.append(Figure(figsize=size))
        draw(made[-1])
        return path

    monkeypatch.setattr(schedules, "save_figure", keep)
    return made


def _in_legend(axes: Any) -> list[str]:
    return [] if axes.get_legend() is None else [text.get_text() for text in axes.get_legend().get_texts()]


def test_training_leaves_a_picture_of_what_it_learns(tmp_path: Path, figures: list[Figure]) -> None:
    _trained(tmp_path / "run", Config(iterations=5, target=0.9, states=23))
    (figure,) = figures
    alone, of_states, rates = figure.axes
    (line,) = alone.lines
    np.testing.assert_allclose(line.get_xdata(), [10, 20, 30, 40, 50])  # environment steps
    expected = 0.9 - 0.4 * 0.9 ** np.arange(5)
    np.testing.assert_allclose(line.get_ydata(), expected)
    corners = alone.collections[0].get_paths()[0].vertices
    for place, (value, width) in enumerate(zip(expected, 0.2 / np.arange(1, 6), strict=True)):
        heights = corners[corners[:, 0] == 10 * (place + 1), 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [value - width, value + width])
    assert [axes.get_ylabel() for axes in figure.axes] == ["discount", "discount of each state", "rates of learning"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "environment steps"]
    assert len(of_states.lines) == len(of_states.collections) == 23
    assert (len(rates.lines), len(rates.collections)) == (2, 0)
    assert _in_legend(alone) == []
    assert _in_legend(rates) == ["learning rate", "lambda rate"]
    named = _in_legend(of_states)
    assert (len(named), named[0], named[-1]) == (10, "discount 0", "discount 22")
    brightness = [sum(line.get_color()[:3]) for line in of_states.lines]
    assert brightness == sorted(brightness)  # colours tell the order


def test_the_file_is_a_picture_after_one_row_too(tmp_path: Path) -> None:
    run = _trained(tmp_path / "run", Config(iterations=1, states=3))
    with Image.open(run / "schedules.png") as image:
        assert np.asarray(image).std() > 1


def test_an_interrupted_and_resumed_run_is_drawn_as_a_whole(tmp_path: Path, figures: list[Figure]) -> None:
    path = _trained(tmp_path / "run", Config(iterations=5, interrupted_at=2))
    earlier = RunFolder.open(path).with_config(Config(iterations=5))
    assert train(TrainingRun(System(Config(iterations=5)), earlier, None))
    before, after = (figure.axes[0].lines[0].get_ydata() for figure in figures)
    assert len(before) == 2
    np.testing.assert_allclose(after, [discount(iteration, 0.99) for iteration in range(5)])


def test_a_run_that_breaks_is_drawn_up_to_there(tmp_path: Path, figures: list[Figure]) -> None:
    with pytest.raises(RuntimeError, match="iteration 3"):
        _trained(tmp_path / "run", Config(iterations=5, fails_at=3))
    assert len(figures[0].axes[0].lines[0].get_ydata()) == 3


def test_what_is_not_known_is_not_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    _trained(tmp_path / "late", Config(iterations=5, known_from=3))
    _trained(tmp_path / "never", Config(iterations=5, known_from=9))
    late, never = figures
    np.testing.assert_allclose(late.axes[2].lines[0].get_xdata(), [40, 50])
    assert [axes.get_ylabel() for axes in never.axes] == ["discount", "discount of each state"]
    assert never.axes[1].get_xlabel() == "environment steps"
    _trained(tmp_path / "none", Config(iterations=0))
    assert len(figures) == 2


def test_a_picture_that_cannot_be_drawn_costs_nothing_but_itself(tmp_path: Path) -> None:
    system = System(Config(iterations=3))
    folder = RunFolder.create(tmp_path / "run", registered("tests.run.discounts"), system)
    (tmp_path / "run" / "schedules.png").mkdir()
    said = list[str]()
    assert train(TrainingRun(system, folder, system.initial_state()), said.append)
    assert [text for text in said if text.startswith("warning: schedules.png could not be drawn: ")]
    progress = read_progress(tmp_path / "run")
    assert progress is not None
    assert len(progress.rows) == folder.load("last")["iteration"] == 3


def test_numbers_that_diverged_leave_the_others_readable(tmp_path: Path) -> None:
    run = _trained(tmp_path / "run", Config(iterations=5, states=2))
    head, *lines = (run / "progress.csv").read_text().splitlines()
    names, rows = head.split(","), [line.split(",") for line in lines]
    rows[1][names.index("discount")] = rows[2][names.index("discount_interval95")] = "inf"
    for row in rows:
        row[names.index("discount_0_interval95")] = "nan"
    (run / "progress.csv").write_text("\n".join([head, *map(",".join, rows), ""]))
    assert draw_schedules(run, read_columns(run)) == run / "schedules.png"


def test_runs_that_count_nothing_are_drawn_over_meta_iterations(tmp_path: Path, figures: list[Figure]) -> None:
    run = _trained(tmp_path / "run", Config(iterations=3))
    assert draw_schedules(run, read_columns(run)._replace(totals=()))
    assert figures[-1].axes[-1].get_xlabel() == "meta-iterations"
    np.testing.assert_allclose(figures[-1].axes[0].lines[0].get_xdata(), [1, 2, 3])


def test_names_are_evenly_chosen_with_both_ends() -> None:
    assert evenly_chosen(3, 10) == [0, 1, 2]
    assert evenly_chosen(19, 10) == list(range(0, 19, 2))
    assert evenly_chosen(1, 10) == [0]


def test_the_folder_says_what_its_columns_are_and_older_ones_need_not(tmp_path: Path) -> None:
    run = _trained(tmp_path / "run", Config(iterations=2, states=2))
    columns = read_columns(run)
    assert columns.tasks_name == "numbers"
    assert columns.schedules["discount of each state"] == ("discount_0", "discount_1")
    (read,) = gather([run]).runs
    assert (read.task, len(read.panels), read.pictures) == ("numbers", 3, [])
    content = json.loads((run / "metrics.json").read_text())
    older = {name: value for name, value in content.items() if name not in ("schedules", "tasks_name")}
    (run / "metrics.json").write_text(json.dumps(older))
    with (run / "config.yaml").open("a") as file:
        file.write("environment: {id: elsewhere, arguments: {}}\n")
    (read,) = gather([run]).runs
    assert (read.task, read.panels) == ("elsewhere", [])
    assert "Schedules" not in [section.title for section in sections(grouped([read]))]
    content["schedules"] = {"discount": ["nowhere"]}
    (run / "metrics.json").write_text(json.dumps(content))
    (read,), (fault,) = gather([run])
    assert (read.learning is not None, read.panels) == (True, [])
    assert "has no column 'nowhere'" in fault.reason


def _charts(*folders: Path) -> tuple[list[Chart], str]:
    (section,) = [each for each in sections(grouped(gather(folders).runs)) if each.title == "Schedules"]
    return list(section.charts), " ".join(section.notes)


def _bands(chart: Chart) -> list[Any]:
    return [trace for trace in chart.figure.data if trace.fill == "toself"]


def test_a_single_run_has_its_own_intervals_on_the_page(tmp_path: Path) -> None:
    (alone, of_states, rates), note = _charts(_trained(tmp_path / "a", Config(iterations=4, states=12)))
    assert (alone.title, alone.figure.layout.xaxis.title.text) == ("Discount", "environment steps")
    (band,) = _bands(alone)
    means = np.array([discount(iteration, 0.99) for iteration in range(4)])
    np.testing.assert_allclose(band.y[:4], means + 0.2 / np.arange(1, 5))
    np.testing.assert_allclose(band.y[4:8], (means - 0.2 / np.arange(1, 5))[::-1])
    assert "the run's own 95% intervals" in note
    assert "Student" not in note
    drawn = [trace for trace in of_states.figure.data if trace.fill is None]
    assert (len(drawn), len(_bands(of_states))) == (12, 12)
    named = [trace.name for trace in drawn if trace.showlegend]
    assert (len(named), named[0], named[-1]) == (10, "discount 0", "discount 11")
    assert len({trace.line.color for trace in drawn}) == 12
    assert _bands(rates) == []


def test_runs_of_a_group_are_a_mean_with_an_interval_over_them(tmp_path: Path) -> None:
    folders = [_trained(tmp_path / str(seed), Config(iterations=4, states=2, seed=seed)) for seed in (1, 2, 3)]
    for shift, folder in enumerate(folders):
        head, *lines = (folder / "progress.csv").read_text().splitlines()
        column, rows = head.split(",").index("discount"), [line.split(",") for line in lines]
        for row in rows:
            row[column] = str(shift)
        (folder / "progress.csv").write_text("\n".join([head, *map(",".join, rows), ""]))
    (alone, of_states, _), note = _charts(*folders)
    mean = next(trace for trace in alone.figure.data if trace.showlegend)
    np.testing.assert_allclose(mean.y, np.ones(4))
    width = stats.t.ppf(0.975, 2) * np.std([0, 1, 2], ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(_bands(alone)[0].y[:8], [1 + width] * 4 + [1 - width] * 4)
    assert len([trace for trace in alone.figure.data if trace.opacity == 0.35]) == 3  # the runs, faintly
    assert not [trace for trace in of_states.figure.data if trace.opacity == 0.35]
    assert "Student's t" in note
    assert "own" not in note


def test_groups_have_dashes_and_quantities_colours(tmp_path: Path) -> None:
    folders = [_trained(tmp_path / str(target), Config(iterations=3, states=8, target=target)) for target in (0.8, 0.9)]
    (alone, of_states, _, of_one), _ = _charts(*folders, _trained(tmp_path / "few", Config(iterations=3, states=1)))
    assert [trace.name for trace in of_one.figure.data if trace.showlegend] == ["few"]
    assert [trace.name for trace in alone.figure.data if trace.showlegend] == ["0.8", "0.9", "few"]
    drawn = [trace for trace in of_states.figure.data if trace.fill is None]
    assert [trace.line.dash for trace in drawn] == ["solid"] * 8 + ["dash"] * 8
    assert [trace.line.color for trace in drawn[:8]] == [trace.line.color for trace in drawn[8:]]
    assert [trace.name for trace in drawn if trace.showlegend][::5] == ["discount 0, 0.8", "discount 0, 0.9"]
    assert of_states.note == "Colours tell the quantities apart, dashes the groups."


def test_learning_curves_have_the_bands_of_single_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: list[Figure]
) -> None:
    folders = [_trained(tmp_path / str(seed), Config(iterations=3, seed=seed)) for seed in (1, 2)]
    folders.append(_trained(tmp_path / "other", Config(iterations=3, target=0.8)))
    monkeypatch.setattr(pictures, "save_figure", schedules.save_figure)
    comparison.compare(folders, tmp_path / "out")
    for axes in figures[-1].axes:
        assert [line.get_label() for line in axes.lines] == ["1", "2", "other"]
        (band,) = axes.collections
        assert band.get_facecolor()[0, :3].tolist() == pytest.approx(to_rgb(axes.lines[2].get_color()))
        assert band.get_paths()[0].get_extents().intervaly.tolist() == [0.5, 5.5]
    learning = next(each for each in sections(grouped(gather(folders).runs)) if each.title == "Learning")
    own = [band for band in _bands(learning.charts[0]) if band.legendgroup == "1"]
    np.testing.assert_allclose(own[0].y[:6], [1.5, 5.5, 2.5, 1.5, 4.5, 0.5])
    assert "and the run's own 95% intervals" in " ".join(learning.notes)
