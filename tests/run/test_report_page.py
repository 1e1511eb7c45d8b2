"""The page of compared runs: what its charts hold, what it says, and that names are text."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maml_rl.run.report import charts, media
from tests.run.run_folders import (
    ACCURACY,
    ERROR,
    RETURN,
    change_json,
    write_evaluation,
    write_run,
    write_training,
    write_validated_run,
)

Script = Callable[[str, list[str]], int]


class Page(HTMLParser):
    """Tags, references, words and scripts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.references, self.words, self.scripts = set[str](), list[str](), "", list[str]()
        self.policy, self._script = "", False
        self.feed(path.read_text())
        self.data = json.loads(self.scripts[0], parse_constant=pytest.fail)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "poster")]
        self._script = tag == "script"
        self.scripts += [""] * self._script
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._script = self._script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[-1] += data
        else:
            self.words += data

    @property
    def traces(self) -> list[dict[str, Any]]:
        """Of all charts."""
        return [trace for figure in self.data["figures"] for trace in figure["data"]]


def _compare(script: Script, output: Path, runs: Sequence[Path], *more: str) -> Page:
    assert script("compare", ["--runs", *map(str, runs), *more, "--output", str(output)]) == 0
    return Page(output / "index.html")


def test_pictures_and_a_table(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    errors = np.array([[5.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
    first = write_evaluation(tmp_path / "x" / "5-shot", ERROR, errors)
    second = write_evaluation(tmp_path / "y" / "5-shot", ERROR, errors[:1])
    third = write_training(tmp_path / "z", ERROR, "validation_error")
    rows = "9,1,.1,2,nan\n19,1,.1,3,0.5\n"
    (third / "progress.csv").write_text("iteration,meta_loss,drawing_s,iteration_s,validation_error\n" + rows)
    output = tmp_path / "out"
    _compare(script, output, [first, second, third], "--log", "true")
    printed = capsys.readouterr()
    assert "x/5-shot: error after gradient steps 0: 4.0000 +- 1.9600, 1: 2.0000" in printed.out
    assert "z: validation error 0.5000 after 20 iterations, 0.8 minutes; best 0.5000" in printed.out
    assert "tmp" not in printed.out.split("wrote")[0]
    assert printed.err == ""
    for name in ("learning.png", "adaptation.png"):
        with Image.open(output / name) as image:
            assert np.asarray(image).std() > 1


def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    error = write_evaluation(tmp_path / "a", ERROR, np.ones((2, 3)))
    accuracy = write_evaluation(tmp_path / "b", ACCURACY, np.ones((2, 3)))
    older = write_run(tmp_path / "c", arrays=False)
    (older / "metrics.json").unlink()
    (older / "best" / "evaluation.json").unlink()
    cases: list[tuple[list[Path], list[str], str]] = [
        ([error, accuracy], [], "they measure different things: error in a, accuracy in b"),
        ([older], [], "no metrics.json: the run was made by an older version"),
        ([error, tmp_path / "nowhere"], [], "there is no folder"),
        ([error], ["--labels", "p", "q"], "`labels` must be as many as `runs`, got 2 for 1"),
        ([], [], "runs"),
    ]
    for runs, more, message in cases:
        argv = ["--runs", *map(str, runs), *more, "--output", str(tmp_path / "out")]
        assert script("compare", argv) == 2
        printed = capsys.readouterr().err.strip()
        assert message in printed
        assert "\n" not in printed
    assert not (tmp_path / "out").exists()
    run = write_run(tmp_path / "d")
    assert script("compare", ["--runs", str(run), "--output", str(run)]) == 2
    assert "is the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["plotly", "jinja2", "scipy"])
def test_a_missing_package_is_one_line(
    package: str, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("maml_rl.run.report", package))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert script("compare", ["--runs", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: a comparison needs the extra 'report': pip install 'maml_rl[report]'.\n"


def test_names_are_text_and_nothing_is_fetched(tmp_path: Path, script: Script) -> None:
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", 2)]
    Image.new("RGB", (8, 8), "red").save(folders[0] / "path's <b>.png")
    (folders[0] / "broken.mp4").write_bytes(b"no film")
    (folders[0] / "page.png").write_bytes(b"<svg onload=alert(1)>")
    label = '<script>alert("x")</script>&amp;\'"'
    page = _compare(
        script, tmp_path / "out", folders, "--labels", label, "</script><i>", "--title", "<u>T</u> & </title>"
    )
    assert not page.tags & {"i", "u", "b", "svg"}
    assert not any("alert(" in script for script in page.scripts[2:])
    assert label in page.words
    assert "<u>T</u> & </title>" in page.words
    assert "broken.mp4, not embedded: it is not a mp4 file, or damaged" in page.words
    assert "page.png, not embedded: it is not a png file, or damaged" in page.words
    names = {trace.get("name") for trace in page.traces}
    assert {"&lt;/script&gt;&lt;i&gt;", label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")} <= names
    assert [reference[:15] for reference in page.references] == ["data:image/png;"]
    assert len(page.scripts) == 3  # the numbers, plotly.js, the page's own
    rest = (tmp_path / "out" / "index.html").read_text().replace(page.scripts[1], "")
    assert not re.search(r"https?://|//cdn|@import|@font-face|url\(", rest)
    assert re.fullmatch(r"default-src 'none'; .*script-src 'sha256-[\w+/=]+' 'sha256-[\w+/=]+'", page.policy)


def test_large_files_are_named_only(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"]
    for path, size in zip(paths, (100, 3_000_000, 200), strict=True):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(size))
    embedded = media.embed(paths, largest=1_000_000, altogether=250)
    assert [bool(each.source) for each in embedded] == [True, False, False]
    assert embedded[1].note == "not embedded: 2.9 MB is too large for this page"
    assert media.LARGEST == 8 * 1024**2


def test_faults_and_warnings_are_on_the_page_and_on_standard_error(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", 2), tmp_path / "empty"]
    folders[2].mkdir()
    change_json(folders[1] / "best" / "evaluation.json", axis="episodes")
    page = _compare(script, tmp_path / "out", folders)
    printed = capsys.readouterr()
    assert "b: return after episodes 0:" in printed.out
    assert "note: left out wholly: empty: " in printed.err
    assert "empty (wholly): " in page.words
    assert "the evaluations differ in axis: gradient steps (a), episodes (b)." in printed.err
    assert "the evaluations differ in axis: gradient steps (a), episodes (b)." in page.words
    assert "Return over gradient steps or episodes" in page.words


def test_what_is_not_there_is_said(tmp_path: Path, script: Script) -> None:
    page = _compare(script, tmp_path / "out", [write_run(tmp_path / "a", arrays=False)])
    assert "Without an evaluation.npz beside its evaluation.json, and so not drawn: a." in page.words
    page = _compare(script, tmp_path / "out", [write_evaluation(tmp_path / "f", RETURN, np.ones((2, 6)))])
    assert "None of the runs has a learning curve." in page.words
    assert "There are no two configurations to compare." in page.words


def test_axes_are_the_totals_time_and_where_they_are_needed_iterations(tmp_path: Path, script: Script) -> None:
    counted, validated = write_run(tmp_path / "a"), write_validated_run(tmp_path / "b")
    for folder, titles in (
        (counted, ["Over environment steps", "Over wall time of training"]),
        (validated, ["Over wall time of training", "Over meta-iterations"]),
    ):
        page = _compare(script, tmp_path / "out", [folder])
        assert re.findall(r"Over [\w -]+", page.words) == titles
    assert page.data["figures"][0]["layout"]["yaxis"]["title"]["text"] == "validation error"


def test_other_measures_and_shared_references_are_drawn(tmp_path: Path, script: Script) -> None:
    values, success = np.random.default_rng(0).normal(size=(3, 6)), np.random.default_rng(1).uniform(size=(3, 6))
    references = [{"optimum": 3.0, "random": -3.0}, {"optimum": 3.0, "random": -4.0}]
    folders = [
        write_evaluation(tmp_path / name, RETURN, values, also={"success": success}, references=known)
        for name, known in zip("ab", references, strict=True)
    ]
    page = _compare(script, tmp_path / "out", folders)
    returns, successes, _ = page.data["figures"]
    assert [trace["name"] for trace in returns["data"]] == ["a", "b", "optimum"]
    assert successes["layout"]["yaxis"]["title"]["text"] == "success"
    assert "Success over gradient steps" in page.words


def _drawn(figure: Any) -> list[dict[str, Any]]:
    json.loads(figure.to_json(), parse_constant=pytest.fail)
    return list(figure.to_dict()["data"])


@pytest.mark.parametrize("log", [False, True])
def test_charts_bear_what_numbers_may_be(log: bool) -> None:
    odd = np.array([1e-9, np.nan, 1e12, np.inf, 3.0, -3.0])
    places, many = np.arange(6.0), np.linspace(1, 2, 5000)
    curves = [
        charts.Line(0, "odd", places, odd, np.full(6, np.nan)),
        charts.Line(9, "one", places[:1], np.ones(1)),
        charts.Line(2, "none", places[:0], places[:0], places[:0], ((places, np.ones(6)),)),
        charts.Line(3, "many", many, many, many / 2),
    ]
    for markers in (False, True):
        assert len(_drawn(charts.lines(curves, "steps", "value", log, markers, {"level": np.nan}))) > 4
    assert len(_drawn(charts.scatter([charts.Points(1, "odd", odd, odd[::-1])], "before", "after", log))) == 2
    _drawn(charts.bars([("none", {"a": 0.0})], ["a"], "seconds"))
    _drawn(charts.bars([("none", {})], [], "seconds"))


def test_a_band_is_broken_where_the_mean_is_unknown() -> None:
    values = np.array([1.0, 2.0, np.inf, 2.0, 1.0, 1.0])
    line = charts.Line(0, "a", np.arange(6.0), values, np.where(np.isfinite(values), 0.5, np.nan))
    band = charts.lines([line], "steps", "value").data[0]
    np.testing.assert_array_equal(band.x, [0, 1, 1, 0, np.nan, 3, 4, 5, 5, 4, 3, np.nan])
    np.testing.assert_array_equal(band.y, [1.5, 2.5, 1.5, 0.5, np.nan, 2.5, 1.5, 1.5, 0.5, 0.5, 1.5, np.nan])


def test_diverged_values_do_not_flatten_the_others() -> None:
    places, far = np.arange(50.0), np.full(50, 0.5)
    far[20:25] = 1e30
    curves = [charts.Line(0, "a", places, np.linspace(1.0, 0.1, 50)), charts.Line(1, "b", places, far)]
    low, high = charts.lines(curves, "n", "error", True).layout.yaxis.range
    assert low < -1
    assert 0 < high < 4


def test_wide_intervals_leave_room_for_the_curves_and_none_is_drawn_below_zero_for_nothing() -> None:
    line = charts.Line(0, "a", np.arange(3.0), np.array([1.0, 2.0, 3.0]), np.full(3, 50.0))
    low, high = charts.lines([line], "n", "value").layout.yaxis.range
    assert low == 0
    assert 3 < high < 6


def test_a_curve_of_no_step_is_a_level() -> None:
    curves = [charts.Line(0, "a", np.arange(4.0), np.ones(4)), charts.Line(1, "b", np.zeros(1), np.array([2.0]))]
    _, level = charts.lines(curves, "steps", "value", markers=True).data
    np.testing.assert_array_equal(level.x, [0, 1, 2, 3])
    np.testing.assert_array_equal(level.y, [2, 2, 2, 2])
    assert level.line.dash == "dash"


def test_error_bars_do_not_hide_each_other() -> None:
    steps = np.arange(3.0)
    curves = [charts.Line(series, f"group {series}", steps, steps, np.ones(3)) for series in range(2)]
    figure = charts.lines(curves, "steps", "return", markers=True)
    assert figure.layout.scattermode == "group"
    assert [trace.offsetgroup for trace in figure.data] == ["0", "1"]
    assert all(trace.error_y.array is not None for trace in figure.data)
