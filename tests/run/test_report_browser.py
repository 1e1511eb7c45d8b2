"""The page of compared runs in a browser: how it looks, what it says under the mouse, zoom, and switching lines."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.run.browser import Browser
from tests.run.run_folders import write_run, write_validated_run

Script = Callable[[str, list[str]], int]
DRAWN = "document.body.dataset.drawn === '5'"
MEASURE = """(() => {
  const root = document.documentElement;
  const bad = [...document.querySelectorAll(".chart svg *")].flatMap((part) => [...part.attributes])
    .filter(({name, value}) => ["d", "x", "y", "transform"].includes(name) && /NaN|Infinity|undefined/.test(value))
    .map((attribute) => attribute.name + "=" + attribute.value);
  const wide = [...document.querySelectorAll("body *")].filter((part) => !part.closest(".scroll, .chart")
    && part.getBoundingClientRect().right > root.clientWidth + 0.5).map((part) => part.tagName);
  const charts = [...document.querySelectorAll(".chart")].map((chart) => {
    const box = chart.getBoundingClientRect();
    const words = [...chart.querySelectorAll("text")].filter((text) => text.textContent);
    return {
      drawn: [...chart.querySelectorAll(".scatterlayer path, .barlayer path")]
        .filter((path) => path.getTotalLength() > 0).length,
      letters: Math.min(...words.map((text) => parseFloat(getComputedStyle(text).fontSize))),
      outside: words.filter((text) => {
        const own = text.getBoundingClientRect();
        return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1;
      }).map((text) => text.textContent),
    };
  });
  const pictures = [...document.images].map((image) => image.naturalWidth);
  return JSON.stringify({across: root.scrollWidth, inner: root.clientWidth, bad, wide, charts, pictures,
    ground: getComputedStyle(document.body).backgroundColor,
    chartGround: getComputedStyle(document.querySelector(".chart .main-svg")).backgroundColor});
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(tmp_path: Path, script: Script, request: pytest.FixtureRequest) -> Path:
    """A page of a group of three runs, and of a run with a long name."""
    make = getattr(request, "param", write_run)
    folders = [make(tmp_path / f"seed-{seed}", seed) for seed in (1, 2, 3)]
    Image.new("RGB", (1600, 400), "red").save(folders[0] / "paths.png")
    other = make(tmp_path / "other-with-quite-a-long-name-that-has-to-go-somewhere" / ("x" * 90), 1)
    (other / "config.yaml").write_text((other / "config.yaml").read_text() + "inner: {rate: 0.2}\n")
    argv = ["--runs", *map(str, folders), str(other), "--output", str(tmp_path / "out"), "--title", "Long" * 40]
    assert script("compare", argv) == 0
    return tmp_path / "out" / "index.html"


def _opened(browser: Browser, page: Path, width: int, height: int, scheme: str = "light") -> None:
    browser.complaints.clear()
    browser.open(page, width, height, scheme)
    browser.wait_for(DRAWN)


def _box(browser: Browser, selector: str) -> dict[str, float]:
    """Where an element is on the screen, which is moved there."""
    element = f"document.querySelector({json.dumps(selector)})"
    browser.value(f"{element}.scrollIntoView({{block: 'center'}})")
    return json.loads(browser.value(f"JSON.stringify({element}.getBoundingClientRect())"))


def _chart(browser: Browser, expression: str) -> Any:
    return json.loads(browser.value(f"JSON.stringify(document.querySelector('.chart').{expression})"))


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
@pytest.mark.parametrize("page", [write_run, write_validated_run], indirect=True)
def test_the_page_fits_the_screen_in_light_and_dark(
    page: Path, width: int, height: int, browser: Browser, tmp_path: Path
) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        _opened(browser, page, width, height, scheme)
        measured = json.loads(browser.value(MEASURE))
        assert measured["across"] <= measured["inner"] <= width
        assert measured["wide"] == []
        assert measured["bad"] == []
        assert len(measured["charts"]) == 5
        for chart in measured["charts"]:
            assert chart["drawn"] > 0
            assert chart["letters"] >= 9
            assert chart["outside"] == []
        assert measured["pictures"] == [1600]
        grounds.add((measured["ground"], measured["chartGround"]))
        path = tmp_path / f"{scheme}.png"
        browser.picture(path)
        with Image.open(path) as image:
            assert image.width >= width - 20
            assert np.asarray(image).std() > 5
    assert len({ground for ground, _ in grounds}) == len({ground for _, ground in grounds}) == 2
    assert browser.complaints == []


def test_pointing_at_a_chart_tells_all_curves(page: Path, browser: Browser) -> None:
    _opened(browser, page, 1280, 900)
    box = _box(browser, ".chart .nsewdrag")
    browser.mouse("mouseMoved", box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    browser.wait_for("document.querySelectorAll('.chart .hoverlayer text').length >= 3")
    words = browser.value("document.querySelector('.chart .hoverlayer').textContent")
    assert "seed-1, seed-2, seed-3 (3 runs) : -3.003 ± 0.0379" in words  # of curves with points at other places
    assert f"{'x' * 26}…{'x' * 17} : -3.000" in words
    assert browser.complaints == []


def test_a_legend_switches_a_group_in_all_charts(page: Path, browser: Browser) -> None:
    _opened(browser, page, 1280, 900)
    shown = (
        "[...document.querySelectorAll('.chart')].map((chart) =>"
        " chart.data.filter((trace) => trace.legendgroup === '0').map((trace) => trace.visible ?? true))"
    )
    before = browser.value(shown)
    assert [len(traces) for traces in before] == [5, 5, 4, 3, 0]  # a band or not, three seeds, their mean; single runs
    box = _box(browser, ".chart .legendtoggle")
    browser.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hidden = (
        f"JSON.stringify({shown}) === JSON.stringify({json.dumps([['legendonly'] * len(each) for each in before])})"
    )
    browser.wait_for(hidden)
    others = "[...document.querySelectorAll('.chart')].every((chart) => chart.data.every((trace) =>"
    assert browser.value(f"{others} trace.legendgroup === '0' || (trace.visible ?? true) === true))")
    browser.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.wait_for(f"{others} (trace.visible ?? true) === true))")
    assert browser.complaints == []


def test_dragging_zooms_and_a_double_click_goes_back(page: Path, browser: Browser) -> None:
    _opened(browser, page, 1280, 900)
    whole = _chart(browser, "layout.xaxis.range")
    box = _box(browser, ".chart .nsewdrag")
    left, right, middle = (box["x"] + share * box["width"] for share in (0.25, 0.75, 0.5))
    high, low = box["y"] + 0.3 * box["height"], box["y"] + 0.7 * box["height"]
    browser.drag(left, high, right, low)
    browser.wait_for(f"document.querySelector('.chart').layout.xaxis.range[0] > {whole[0]}")
    near = _chart(browser, "layout.xaxis.range")
    assert near[1] - near[0] == pytest.approx((whole[1] - whole[0]) / 2, rel=0.05)
    browser.click(middle, (high + low) / 2, 2)
    browser.wait_for(f"Math.abs(document.querySelector('.chart').layout.xaxis.range[0] - {whole[0]}) < 1e-6")
    assert browser.complaints == []


def test_no_other_script_runs(page: Path, browser: Browser) -> None:
    text = page.read_text().replace("<body>", "<body onload=\"document.title = 'taken'\"><script>alert(1)</script>")
    page.write_text(text)
    _opened(browser, page, 1280, 900)
    assert browser.value("document.title") == "Long" * 40
    assert len([complaint for complaint in browser.complaints if "Content Security Policy" in complaint]) == 2
