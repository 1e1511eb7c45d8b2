"""The page of compared runs: what is gathered, how it is grouped, what is said, and how it looks in a browser."""

import json
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maml_rl.run.compare import Adaptation
from maml_rl.run.errors import UsageError
from maml_rl.run.report import charts, media
from maml_rl.run.report.gather import gather
from maml_rl.run.report.groups import (
    Group,
    differences,
    grouped,
    half_width,
    mean_adaptation,
    mean_curve,
    warnings_about,
)
from tests.run.browser import Browser

Script = Callable[[str, list[str]], int]
SUPERVISED = "iteration,meta_loss,drawing_s,iteration_s,validation_error,validation_s\n"


def _run(
    folder: Path,
    seed: int = 1,
    config: str = "",
    values: Sequence[float] = (-5.0, -3.0, -2.0),
    tasks: int = 6,
    place: str = "best",
    arrays: bool = True,
) -> Path:
    """A reinforcement-learning run as training and evaluation leave it, without checkpoints."""
    (folder / place).mkdir(parents=True)
    (folder / "config.yaml").write_text(f"system: maml_trpo\nseed: {seed}\n{config}")
    (folder / "versions.json").write_text(json.dumps({"maml_rl": "0.1.0", "torch": "2.13.0"}))
    rows = [
        f"{index},{value - 1},{value},{1000 * (index + 1) + 10 * seed},{1 + seed},2,3,400"
        for index, value in enumerate(values)
    ]
    head = "iteration,return_before,return_after,env_steps,sampling_s,adaptation_s,meta_update_s,steps_per_s"
    (folder / "progress.csv").write_text("\n".join([head, *rows, ""]))
    returns = np.random.default_rng(seed).normal(size=(3, tasks, 4)) + np.arange(3)[:, None, None]
    _evaluation(folder / place, "return", returns.mean(-1), {"returns": returns} if arrays else None, place)
    return folder


def _evaluation(
    folder: Path,
    measure: str,
    per_task: NDArray[np.float64],
    arrays: dict[str, NDArray[np.float64]] | None = None,
    checkpoint: str = "best",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "checkpoint": checkpoint,
        f"{measure}_mean": per_task.mean(1).tolist(),
        f"{measure}_interval95": (1.96 * per_task.std(1, ddof=1) / per_task.shape[1] ** 0.5).tolist(),
        "tasks": [{"phase": task} for task in range(per_task.shape[1])],
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    if arrays is not None:
        np.savez(folder / "evaluation.npz", **arrays)  # type: ignore[arg-type]
    return folder


def _supervised(folder: Path, seed: int = 1) -> Path:
    rows = "9,1,.1,2,nan,0\n19,1,.1,3,0.5,4\n29,1,.1,3,0.4,4\n"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"system: maml\nseed: {seed}\n")
    (folder / "progress.csv").write_text(SUPERVISED + rows)
    errors = np.random.default_rng(seed).uniform(0.1, 3.0, (4, 8)) / np.arange(1, 5)[:, None]
    _evaluation(folder, "error", errors, {"error": errors})
    return folder


def _compare(script: Script, output: Path, runs: Sequence[Path], *more: str) -> str:
    assert script("compare", ["--runs", *map(str, runs), *more, "--output", str(output)]) == 0
    return (output / "index.html").read_text()


def test_runs_that_differ_in_their_seed_only_are_a_group(tmp_path: Path) -> None:
    folders = [_run(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2), ("c", 3))]
    folders.append(_run(tmp_path / "d", 3, "torch_threads: 2\n"))
    folders.append(_run(tmp_path / "e", 4, "outer: {max_kl: 0.02}\n"))
    folders.append(_evaluation(tmp_path / "f", "return", np.ones((2, 6))))
    groups = grouped(gather(folders).runs)
    assert [[run.name for run in group.runs] for group in groups] == [["a", "b", "c", "d"], ["e"], ["f"]]
    assert groups[0].name == "a, b, c, d"
    assert any("same seed" in warning for warning in warnings_about(groups))


def test_files_are_left_out_and_a_runs_own_folder_is_not_written_to(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run, picture = _run(tmp_path / "a"), tmp_path / "adaptation.png"
    picture.write_bytes(b"")
    _compare(script, tmp_path / "out", [run, picture])
    assert "adaptation.png is a file, not the folder of a run." in capsys.readouterr().err
    assert script("compare", ["--runs", str(run), "--output", str(run)]) == 2
    assert "is the folder of a run" in capsys.readouterr().err


def test_a_folder_of_its_own_names_a_group(tmp_path: Path) -> None:
    wider = "outer: {max_kl: 0.02}\n"
    folders = [_run(tmp_path / "maml" / name, seed) for seed, name in enumerate("ab")]
    folders += [_run(tmp_path / "wide" / name, seed, wider) for seed, name in enumerate("ab")]
    assert [group.name for group in grouped(gather(folders).runs)] == ["maml", "wide"]
    folders.append(_run(tmp_path / "wide" / "c", 3, "outer: {max_kl: 0.03}\n"))
    assert [group.name for group in grouped(gather(folders).runs)] == ["maml", "wide/a, wide/b", "wide/c"]


def test_error_bars_do_not_hide_each_other() -> None:
    steps, values = np.arange(3.0), np.arange(3.0)
    curves = [charts.Line(series, f"group {series}", steps, values, np.ones(3)) for series in range(2)]
    bars, bands = (charts.lines("chart", curves, "steps", "return", markers=markers) for markers in (True, False))
    whiskers = re.findall('class="whisker" d="M([0-9.]+)', bars)
    assert len(whiskers) == 2
    assert float(whiskers[1]) - float(whiskers[0]) == pytest.approx(3)
    drawn = re.findall('class="mean" d="([^"]+)', bands)
    assert drawn[0] == drawn[1]


def test_labels_make_groups_and_say_what_else_differs(tmp_path: Path) -> None:
    folders = [_run(tmp_path / "a", 1), _run(tmp_path / "b", 2, "outer: {max_kl: 0.02}\n"), _run(tmp_path / "c", 3)]
    groups = grouped(gather(folders, ["x", "x", "y"]).runs)
    assert [(group.name, [run.name for run in group.runs]) for group in groups] == [
        ("x", ["x (a)", "x (b)"]),
        ("y", ["y"]),
    ]
    assert "the runs called x differ in more than their seed: outer.max_kl." in warnings_about(groups)


def test_intervals_over_seeds(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5))
    expected = 4.3026527 * np.std(values, axis=0, ddof=1) / np.sqrt(3)  # Student's t at 97.5%, 2 degrees of freedom
    np.testing.assert_allclose(half_width(values), expected, rtol=1e-4)
    assert np.isnan(half_width(values[:1])).all()
    for count, factor in ((12, 2.2009852), (31, 2.0422725), (101, 1.9839715)):
        many = np.random.default_rng(1).normal(size=(count, 1))
        np.testing.assert_allclose(half_width(many), factor * many.std(0, ddof=1) / count**0.5, rtol=2e-3)
    places = np.arange(5.0)
    curve = mean_curve([(places, each) for each in values])
    np.testing.assert_allclose(curve.means, values.mean(0))
    np.testing.assert_allclose(curve.widths, expected, rtol=1e-4)
    bare = mean_curve([(places, values[0])])
    assert (bare.widths, bare.over) == (None, "")


def test_means_are_where_all_seeds_have_points() -> None:
    first = (np.array([0.0, 2.0, 4.0]), np.array([0.0, 2.0, 4.0]))
    second = (np.array([1.0, 3.0, 9.0]), np.array([3.0, 5.0, 11.0]))
    curve = mean_curve([first, second])
    np.testing.assert_allclose(curve.places, [1, 2, 3, 4])
    np.testing.assert_allclose(curve.means, [2, 3, 4, 5])  # between x and x + 2
    apart = mean_curve([first, (first[0] + 9, first[1])])
    assert len(apart.places) == 0


def test_adaptation_is_a_mean_over_seeds_or_tasks(tmp_path: Path) -> None:
    runs = gather([_run(tmp_path / str(seed), seed) for seed in (1, 2, 3)]).runs
    found: list[Adaptation] = [run.adaptation for run in runs if run.adaptation]
    over_seeds, over_tasks = mean_adaptation(runs), mean_adaptation(runs[:1])
    assert over_seeds is not None
    assert over_tasks is not None
    assert (over_seeds.over, over_tasks.over) == ("seeds", "tasks")
    means = np.array([each.means for each in found])
    np.testing.assert_allclose(over_seeds.means, means.mean(0))
    np.testing.assert_allclose(over_seeds.widths, half_width(means))
    np.testing.assert_allclose(over_tasks.widths, found[0].intervals)


def test_the_best_states_evaluation_is_preferred(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a")
    per_task = np.full((3, 6), 9.0)
    _evaluation(folder / "last", "return", per_task, None, "last")
    (run,) = gather([folder]).runs
    assert run.place == "best"
    (folder / "best" / "evaluation.json").unlink()
    (run,) = gather([folder]).runs
    assert run.place == "last"
    assert run.per_task is None


def test_only_what_differs_is_listed(tmp_path: Path) -> None:
    runs = gather([_run(tmp_path / "a"), _run(tmp_path / "b", 2, "inner: {rate: 0.2}\n")]).runs
    assert differences(runs) == {"inner.rate": ["0.1", "0.2"], "seed": ["1", "2"]}
    runs = gather([_run(tmp_path / "c"), _supervised(tmp_path / "d")]).runs
    found = differences(runs)
    assert found["system"] == ["maml_trpo", "maml"]
    assert found["distribution.id"] == ["–", "sinusoid"]  # noqa: RUF001
    assert found["estimator.discount"][1] == "–"  # noqa: RUF001


def test_a_half_written_run_is_told_and_the_others_go_on(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = _run(tmp_path / "whole")
    without = _run(tmp_path / "without")
    (without / "config.yaml").unlink()
    cut = _run(tmp_path / "cut", 2)
    (cut / "config.yaml").write_text("system: maml_trpo\npolicy: {hid")
    header = _run(tmp_path / "header", 3)
    (header / "progress.csv").write_text("iteration,return_after\n")
    truncated = _run(tmp_path / "truncated", 4)
    with (truncated / "progress.csv").open("a") as file:
        file.write("3,-4,-3.0")
    evaluation = _run(tmp_path / "evaluation", 5)
    (evaluation / "best" / "evaluation.json").write_text('{"return_mean": [1.0, ')
    arrays = _run(tmp_path / "arrays", 6)
    content = (arrays / "best" / "evaluation.npz").read_bytes()
    (arrays / "best" / "evaluation.npz").write_bytes(content[: len(content) // 2])
    others = _run(tmp_path / "others", 7)
    np.savez(others / "best" / "evaluation.npz", returns=np.ones((3, 6, 4)))
    empty = tmp_path / "empty"
    empty.mkdir()
    folders = [whole, without, cut, header, truncated, evaluation, arrays, others, empty, whole]
    text = _compare(script, tmp_path / "out", folders)
    told = capsys.readouterr().err
    section = text.partition("Left out")[2].partition("<section>")[0]
    for line in (
        "without: <> is not a run folder: it has no config.yaml",
        "cut: configuration <>/config.yaml is not YAML",
        "header: <>/progress.csv has no point of a learning curve yet",
        "truncated: the last row of <>/progress.csv is half-written",
        "evaluation: <>/best/evaluation.json is damaged",
        "arrays: <>/best/evaluation.npz is damaged",
        "others: <>/best/evaluation.npz does not belong to the evaluation.json beside it",
        "empty: <> has neither a learning curve",
        "whole: <> is named twice",
    ):
        name = line.partition(":")[0]
        line = line.replace("<>", str(tmp_path / name))  # noqa: PLW2901
        assert line in told
        assert line.partition(": ")[2] in section
    names = [run.name for run in gather(folders).runs]
    assert names == ["whole", "header", "truncated", "evaluation", "arrays", "others"]


def test_nothing_left_is_one_line(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [_run(tmp_path / name) for name in "ab"]
    for folder in folders:
        (folder / "config.yaml").unlink()
    assert script("compare", ["--runs", *map(str, folders), "--output", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: there is nothing to compare.")
    assert "\n" not in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="there is no folder"):
        gather([tmp_path / "nowhere"])


def test_unlike_tasks_and_evaluations_are_warned_of(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [
        _run(tmp_path / "a"),
        _run(tmp_path / "b", 1, "environment: {id: 'envs:HalfCheetahDir-v0', arguments: {frame_skip: 1}}\n", tasks=5),
    ]
    text = _compare(script, tmp_path / "out", folders)
    told = capsys.readouterr().err
    for warning in ("the runs are of different tasks: envs:", "the evaluations are of different tasks."):
        assert f"warning: {warning}" in told
        assert warning in text
    same = "environment: {id: 'envs:HalfCheetahDir-v0', arguments: {%s}}\n"
    folders = [_run(tmp_path / "c", 1, same % "frame_skip: 1, horizon: 50")]
    folders += [_run(tmp_path / "d", 2, same % "frame_skip: 5", place="last")]
    _compare(script, tmp_path / "out", folders)
    told = capsys.readouterr().err
    assert "the runs set environment.arguments.frame_skip of their task differently: 1 (c), 5 (d)." in told
    assert "some runs set environment.arguments.horizon (50), others leave the task's default" in told
    assert "the evaluations differ in checkpoint: best (c), last (d)." in told


def test_more_steps_are_no_other_rates(tmp_path: Path) -> None:
    folders = [_run(tmp_path / name, seed) for seed, name in enumerate("abc")]
    rates: list[Any] = [[0.1, 0.05, 0.05], [0.1], [0.1, 0.05, 0.05, 0.05, 0.05]]
    for folder, each in zip(folders, rates, strict=True):
        path = folder / "best" / "evaluation.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "rates": each}))
    assert warnings_about(grouped(gather(folders).runs)) == []
    path.write_text(json.dumps({**json.loads(path.read_text()), "rates": []}))
    assert warnings_about(grouped(gather(folders).runs)) == []
    path.write_text(json.dumps({**json.loads(path.read_text()), "rates": [0.2, 0.2]}))
    assert "the evaluations differ in rates: 0.1, 0.05 (a), 0.1 (b), 0.2 (c)." in warnings_about(
        grouped(gather(folders).runs)
    )


class _Parser(HTMLParser):
    """Collects tags, references and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.references, self.words = set[str](), list[str](), ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "poster")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_labels_and_titles_are_text_and_nothing_is_fetched(tmp_path: Path, script: Script) -> None:
    folders = [_run(tmp_path / "a"), _run(tmp_path / "b", 2)]
    Image.new("RGB", (8, 8), "red").save(folders[0] / "path's <b>.png")
    (folders[0] / "broken.mp4").write_bytes(b"no film")
    label = '<script>alert("x")</script>&amp;\'"'
    text = _compare(
        script, tmp_path / "out", folders, "--labels", label, "</script><i>", "--title", "<u>T</u> & </title>"
    )
    parser = _Parser()
    parser.feed(text)
    assert "i" not in parser.tags
    assert "u" not in parser.tags
    assert "b" not in parser.tags
    assert "alert" not in re.sub(r"&lt;script&gt;alert|\\u003cscript>alert", "", text)
    assert label in parser.words
    assert "<u>T</u> & </title>" in parser.words
    assert "broken.mp4, not embedded: it is not a mp4 file, or damaged" in parser.words
    assert all(reference.startswith("data:") for reference in parser.references)
    assert len(parser.references) == 1
    assert not re.search(r"https?://|//cdn|@import|@font-face", text)
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"NaN|Infinity|\bnan\b|\binf\b", text)


def test_large_files_are_named_only(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"]
    for path, size in zip(paths, (100, 3_000_000, 200), strict=True):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(size))
    made = media.embed(paths, largest=1_000_000, altogether=250)
    assert [bool(each.element) for each in made] == [True, False, False]
    assert made[1].note == "not embedded: 2.9 MB is too large for this page"
    assert media.LARGEST == 8 * 1024**2


def test_an_axis_of_its_own_is_named(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [_run(tmp_path / "a"), _run(tmp_path / "b", 2)]
    path = folders[1] / "best" / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "axis": "episodes"}))
    text = _compare(script, tmp_path / "out", folders)
    told = capsys.readouterr()
    assert "b: return after episodes 0:" in told.out
    assert "the evaluations differ in axis: gradient steps (a), episodes (b)." in told.err
    assert "Return over gradient steps or episodes" in text


def test_a_page_without_arrays_says_so(tmp_path: Path, script: Script) -> None:
    text = _compare(script, tmp_path / "out", [_run(tmp_path / "a", arrays=False)])
    assert "Without an evaluation.npz beside its evaluation.json, and so not drawn: a." in text
    text = _compare(script, tmp_path / "out", [_evaluation(tmp_path / "f", "return", np.ones((2, 6)))])
    assert "None of the runs has a learning curve." in text
    assert "There are no two configurations to compare." in text


@pytest.mark.parametrize("log", [False, True])
def test_charts_bear_what_numbers_may_be(log: bool) -> None:
    odd = np.array([1e-9, np.nan, 1e12, np.inf, 3.0, 3.0])
    places = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    many = np.linspace(1, 2, 5000)
    curves = [
        charts.Line(0, "odd", places, odd, np.full(6, np.nan)),
        charts.Line(9, "one", places[:1], np.ones(1)),
        charts.Line(2, "none", places[:0], places[:0], places[:0], ((places, np.ones(6)),)),
        charts.Line(3, "many", many, many, many / 2),
    ]
    for markers in (False, True):
        drawn = charts.lines("x", curves, "steps", "value", log, markers)
        assert not re.search(r"nan|inf\b|NaN", drawn)
    drawn = charts.scatter([charts.Points(1, "odd", odd, odd[::-1])], "before", "after", log)
    assert not re.search(r"nan|inf\b|NaN", drawn)
    assert "NaN" not in charts.bars([("none", {"a": 0.0})], ["a"], "seconds")


def test_a_band_is_broken_where_the_mean_is_unknown() -> None:
    values = np.array([1.0, 2.0, np.inf, 2.0, 1.0, 1.0])
    line = charts.Line(0, "a", np.arange(6.0), values, np.where(np.isfinite(values), 0.5, np.nan))
    (band,) = re.findall(r'class="band" d="([^"]*)"', charts.lines("x", [line], "steps", "value"))
    assert [len(re.findall("[ML]", part)) for part in band.split("Z")] == [4, 6, 0]


def test_diverged_values_do_not_flatten_the_others() -> None:
    usual, far = np.linspace(1.0, 0.1, 50), np.full(50, 0.5)
    far[20:25] = 1e30
    places = np.arange(50.0)
    drawn = charts.lines(
        "x", [charts.Line(0, "a", places, usual), charts.Line(1, "b", places, far)], "n", "error", True
    )
    paths = re.findall(r'class="mean"[^>]* d="([^"]*)"', drawn)
    heights = [float(height) for height in re.findall(r" ([\d.-]+)", paths[0])]
    assert max(heights) - min(heights) > 40


def test_short_numbers() -> None:
    numbers = (0.0, 0.25, -40.0, 9999.0, 12_000.0, 40e6, 2.5e9, 1e-6)
    assert [charts.short(number) for number in numbers] == ["0", "0.25", "-40", "9999", "12k", "40M", "2.5G", "1e-06"]


MEASURE = """(() => {
  const root = document.documentElement;
  const bad = [...document.querySelectorAll("svg *")].flatMap((part) => [...part.attributes])
    .filter((attribute) => /NaN|Infinity|undefined/.test(attribute.value)).length;
  const wide = [...document.querySelectorAll("body *")].filter((part) => !part.closest(".scroll, svg")
    && part.getBoundingClientRect().right > root.clientWidth + 0.5).map((part) => part.tagName);
  const charts = [...document.querySelectorAll("svg.chart")].map((chart) => ({
    width: chart.getBoundingClientRect().width,
    drawn: [...chart.querySelectorAll("[data-series] path, path[class^=p]")]
      .filter((path) => path.getTotalLength() > 0).length,
    letters: Math.min(...[...chart.querySelectorAll("text")].map((text) =>
      parseFloat(getComputedStyle(text).fontSize) * chart.getBoundingClientRect().width / chart.viewBox.baseVal.width)),
    outside: [...chart.querySelectorAll("text")].filter((text) => {
      const box = text.getBBox();
      return box.x < -1 || box.x + box.width > chart.viewBox.baseVal.width + 1;
    }).map((text) => text.textContent),
  }));
  const pictures = [...document.images].map((image) => image.naturalWidth);
  return JSON.stringify({across: root.scrollWidth, inner: root.clientWidth, bad, wide, charts, pictures,
    ground: getComputedStyle(document.body).backgroundColor});
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
@pytest.mark.parametrize("kind", ["returns", "errors"])
def test_in_a_browser(kind: str, width: int, height: int, browser: Browser, tmp_path: Path, script: Script) -> None:
    make = _run if kind == "returns" else _supervised
    folders = [make(tmp_path / f"seed-{seed}", seed) for seed in (1, 2, 3)]
    Image.new("RGB", (1600, 400), "red").save(folders[0] / "paths.png")
    other = make(tmp_path / "other-with-quite-a-long-name-that-has-to-go-somewhere" / ("x" * 90), 1)
    (other / "config.yaml").write_text((other / "config.yaml").read_text() + "inner: {rate: 0.2}\n")
    _compare(script, tmp_path / "out", [*folders, other], "--title", "Long" * 40)
    browser.complaints.clear()
    grounds = set()
    for scheme in ("light", "dark"):
        browser.open(tmp_path / "out" / "index.html", width, height, scheme)
        found = json.loads(browser.value(MEASURE))
        assert found["across"] <= found["inner"] <= width
        assert found["wide"] == []
        assert found["bad"] == 0
        assert len(found["charts"]) == 5
        for chart in found["charts"]:
            assert chart["drawn"] > 0
            assert chart["letters"] > 9
            assert chart["outside"] == []
        assert found["pictures"] == [1600]
        grounds.add(found["ground"])
        path = tmp_path / f"{scheme}.png"
        browser.picture(path)
        with Image.open(path) as image:
            assert image.width >= width - 20
            assert np.asarray(image).std() > 5
    assert len(grounds) == 2
    browser.value("document.querySelector('svg.chart').scrollIntoView({block: 'center'})")
    box = json.loads(browser.value("JSON.stringify(document.querySelector('svg.chart').getBoundingClientRect())"))
    place = {"x": box["x"] + 0.6 * box["width"], "y": box["y"] + 0.5 * box["height"]}
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
    assert "seed-1, seed-2, seed-3: " in browser.value("document.querySelector('.readout').textContent")
    hidden = "[...document.querySelectorAll('g[data-series=\"0\"]')].map((part) => getComputedStyle(part).display)"
    assert set(browser.value(hidden)) == {"inline"}
    browser.value("document.querySelector('button[data-series=\"0\"]').click()")
    assert set(browser.value(hidden)) == {"none"}
    assert browser.complaints == []


def test_a_group_is_named_after_its_runs(tmp_path: Path) -> None:
    runs = gather([_run(tmp_path / f"a-rather-long-name-{seed}", seed) for seed in range(4)]).runs
    (group,) = grouped(runs)
    assert isinstance(group, Group)
    assert group.name == "a-rather-long-name-0 to a-rather-long-name-3"
