"""The pages say what the stored numbers say, and the stored numbers agree with each other and stay small."""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, PngImagePlugin

from envs.gittins import gittins_returns
from maml_rl.run.config import load_config
from maml_rl.run.evaluate import write
from maml_rl.systems.evaluation import Evaluation, Measure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results"
EXPERIMENTS = sorted(path.parent for path in RESULTS.glob("*/results.csv"))
NOT_FROM_TABLES = (
    "2d-navigation/paths.png",
    "ant-vel/frames.png",
    "learned-optimiser/trainings.png",
    "sinusoid/seed-1/curves.png",
)
Script = Callable[[str, list[str]], int]

each_experiment = pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def values(row: dict[str, str], name: str = "value") -> np.ndarray:
    return np.array([float(text) for key, text in row.items() if re.fullmatch(rf"{name}_\d+", key) and text])


def test_every_page_and_figure_follows_from_the_stored_numbers(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    code = script("results", ["--check", "true"])
    assert (code, capsys.readouterr().out) == (0, "")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """README and docs without films and checkpoints, to be changed."""
    (tmp_path / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.mp4", "*.pt", "*.zip"))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        ("README.md", "| -37.75 |", "| -37.74 |", "README.md: table navigation-short"),
        ("docs/results/README.md", "-10.97 ± 2.39", "-10.97 ± 2.38", "table navigation"),
        ("docs/results/README.md", "the mean is -4.03", "the mean is -3.93", "does not say: after two steps"),
        ("docs/supervised.md", "it has 83.5 %", "it has 85.3 %", "docs/supervised.md does not say"),
        ("docs/results/2d-navigation/results.csv", "-10.9", "-10.8", "README.md: table navigation"),
        ("docs/results/half-cheetah-vel/tasks.csv", "best,7,-", "best,7,-1", "half-cheetah-vel/adaptation.png"),
        ("docs/results/omniglot-5way-1shot/curves.csv", "seed-1,500,1.8", "seed-1,500,2.8", "omniglot-5way-time"),
        ("docs/results/benchmark.json", '"maml_rl": 475', '"maml_rl": 575', "table speed-sinusoid"),
        ("docs/results/README.md", "<!-- table: rl2 -->", "", "no page shows the table rl2"),
    ],
)
def test_a_number_changed_by_hand_is_told(
    script: Script, capsys: pytest.CaptureFixture[str], copy: Path, path: str, old: str, new: str, told: str
) -> None:
    text = (copy / path).read_text(encoding="utf-8")
    assert old in text
    (copy / path).write_text(text.replace(old, new, 1), encoding="utf-8")
    assert script("results", ["--check", "true", "--root", str(copy)]) == 1
    assert told in capsys.readouterr().out


def test_a_changed_figure_is_told_and_drawn_again(
    script: Script, capsys: pytest.CaptureFixture[str], copy: Path
) -> None:
    path = copy / "docs/results/bandit/adaptation.png"
    with Image.open(path) as image:
        digests, changed = image.info, image.copy()
    changed.putpixel((100, 100), (255, 0, 0, 255))
    kept = PngImagePlugin.PngInfo()
    for name in ("Numbers", "Pixels"):
        kept.add_text(name, digests[name])
    changed.save(path, pnginfo=kept)
    assert script("results", ["--check", "true", "--root", str(copy)]) == 1
    assert "stale: docs/results/bandit/adaptation.png" in capsys.readouterr().out
    assert script("results", ["--root", str(copy)]) == 0
    assert capsys.readouterr().out == "written: docs/results/bandit/adaptation.png\n"
    assert script("results", ["--check", "true", "--root", str(copy)]) == 0


@pytest.mark.parametrize(
    "field",
    ["2d-navigation/seed-9 best; 0; .2f", "2d-navigation/seed-1 worst; 0; .2f", "2d-navigation/seed-? best; 0; .2f ±"],
)
def test_a_field_without_a_number_is_an_error(
    script: Script, capsys: pytest.CaptureFixture[str], copy: Path, field: str
) -> None:
    with (copy / "docs/results/pages/tables.txt").open("a", encoding="utf-8") as file:
        file.write(f"\n== new\n| {{{field}}} |\n")
    assert script("results", ["--check", "true", "--root", str(copy)]) == 2
    assert f"{{{field}}}" in capsys.readouterr().err


def test_a_run_is_stored_with_its_curve_its_evaluations_and_its_configuration(script: Script, tmp_path: Path) -> None:
    run, experiment = tmp_path / "run", tmp_path / "docs/results/cheetah"
    (run / "best").mkdir(parents=True)
    shutil.copy(RESULTS / "half-cheetah-vel/config.yaml", run)
    progress = [f"{k},{k},{k + 1.5},{400 * (k + 1)},1.0,0.5,1.5,{2 * k}" for k in range(250)]
    head = "iteration,return_before,return_after,env_steps,sampling_s,adaptation_s,meta_update_s,value_error"
    (run / "progress.csv").write_text("\n".join([head, *progress, ""]))
    returns = np.random.default_rng(0).normal(size=(2, 4, 5)) + np.array([0.0, 3.0])[:, None, None]
    settings = {"checkpoint": "best", "iteration": 200, "episodes": 5, "learning_rates": [0.1, 0.05], "seed": 1000}
    settings["programs"] = [{"formula": "(g + m)"}, {"formula": "m"}]
    ratios = {"ratio": [0.5, 2.0, 8.0]}
    evaluation = Evaluation(Measure("return", True), returns, [{}] * 4, settings=settings, numbers=ratios)
    write(evaluation, run / "best")
    columns: dict[str, Any] = {
        "system": "maml_trpo",
        "measure": "return",
        "higher_is_better": True,
        "learning_curve": "return_after",
    }
    columns |= {"totals": ["env_steps"], "schedules": {"error": ["value_error"]}}
    (run / "metrics.json").write_text(json.dumps(columns))
    argv = ["--run", str(run), "--experiment", "cheetah", "--name", "seed-1", "--root", str(tmp_path)]
    for _ in range(2):  # the second time in the place of the first
        assert script("store_run", [*argv, "--commit", "0123456789abcdef"]) == 0
    first, further, gain = rows_of(experiment / "results.csv")
    assert (first["commit"], first["rates"], first["tasks"]) == ("0123456789", "0.1 0.05", "4")
    assert (first["iterations"], first["env_steps"], first["minutes"]) == ("250", "100000", "12.5")
    np.testing.assert_allclose(values(first), returns.mean((1, 2)), rtol=1e-11)
    np.testing.assert_allclose(float(first["interval_1"]), 1.96 * returns[1].mean(-1).std(ddof=1) / 2)
    assert first["formula"] == "(g + m)"
    assert (further["measure"], values(further).tolist()) == ("ratio", ratios["ratio"])
    gains = returns.mean(-1)[1] - returns.mean(-1)[0]
    assert gain["measure"] == "gain"
    np.testing.assert_allclose(float(gain["interval_1"]), 1.96 * gains.std(ddof=1) / 2)
    curve = rows_of(experiment / "curves.csv")
    assert (len(curve), curve[-1]["iteration"], curve[-1]["env_steps"]) == (84, "250", "100000")
    assert float(curve[-1]["return_after"]) == 248 + 1.5
    assert float(curve[0]["return_before"]) == float(curve[0]["value_error"]) == 0.0
    assert float(curve[-1]["value_error"]) == 2 * 248
    named = yaml.safe_load((experiment / "configurations.yaml").read_text())
    assert named == {"seed-1": yaml.safe_load((run / "config.yaml").read_text())}
    with (run / "config.yaml").open("a") as file:
        file.write("device: cuda\n")
    assert script("store_run", [*argv, "--commit", "0123456789abcdef"]) == 2


@each_experiment
def test_every_run_has_a_configuration_that_loads_and_the_commit_of_its_numbers(folder: Path, tmp_path: Path) -> None:
    stored = folder / "configurations.yaml"
    named = yaml.safe_load(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    wanted = {row["configuration"] for row in rows_of(folder / "results.csv")} - {""}
    assert set(named) <= wanted
    for name in wanted:
        path = folder / name
        if name in named:
            path = tmp_path / "config.yaml"
            path.write_text(yaml.safe_dump(named[name]), encoding="utf-8")
        load_config(path)
    for row in rows_of(folder / "results.csv"):
        assert re.fullmatch(r"[0-9a-f]{10}", row["commit"])
        assert not row.get("source") or row["source"].startswith("docs/results/")


@each_experiment
def test_rows_are_told_apart_and_curves_belong_to_runs(folder: Path) -> None:
    rows = rows_of(folder / "results.csv")
    keys = Counter((row["run"], row["evaluation"], row.get("measure")) for row in rows)
    assert max(keys.values()) == 1
    counts = Counter(row["run"] for row in rows_of(folder / "curves.csv"))
    assert set(counts) <= {row["run"] for row in rows}
    assert max(counts.values()) <= 300
    for run in counts:
        iterations = [int(row["iteration"]) for row in rows_of(folder / "curves.csv") if row["run"] == run]
        assert iterations == sorted(set(iterations))
        assert iterations[-1] <= int(next(row["iterations"] for row in rows if row["run"] == run))


def test_gains_and_regrets_are_differences_of_returns() -> None:
    checked = 0
    for folder in EXPERIMENTS:
        rows = {(row["run"], row["evaluation"], row.get("measure")): row for row in rows_of(folder / "results.csv")}
        for (run, evaluation, measure), row in rows.items():
            if measure in ("gain", "regret"):
                returns = values(rows[run, evaluation, "return"])
                optimum = float(rows[run, evaluation, "return"]["optimal"]) if measure == "regret" else 0.0
                expected = optimum - returns if measure == "regret" else returns - returns[0]
                np.testing.assert_allclose(values(row), expected, atol=1e-9)
                checked += 1
            if measure == "forward":
                other = rows[run, evaluation, "backward"]
                counts = np.array([float(row["tasks"]), float(other["tasks"])])
                mean = counts @ np.stack([values(row), values(other)]) / counts.sum()
                np.testing.assert_allclose(mean, values(rows[run, evaluation, "return"]), atol=1e-9)
                checked += 1
    assert checked == 7 + 4 + 2 + 9


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/tasks.csv")), ids=lambda path: path.parent.name)
def test_tasks_have_the_mean_and_the_interval_of_their_evaluation(path: Path) -> None:
    tasks = np.stack([values(row) for row in rows_of(path)])
    rows = rows_of(path.parent / "results.csv")
    row = next(row for row in rows if (row["evaluation"], row["measure"]) == ("best", "return"))
    np.testing.assert_allclose(tasks.mean(0), values(row), rtol=1e-9)
    np.testing.assert_allclose(1.96 * tasks.std(0, ddof=1) / np.sqrt(len(tasks)), values(row, "interval"), rtol=1e-9)


def test_the_gittins_index_earns_what_the_page_says() -> None:
    chances = np.stack([values(row, "chance") for row in rows_of(RESULTS / "bandit/tasks.csv")])
    mean = np.mean([gittins_returns(chances, 10, np.random.default_rng(seed)).sum(1) for seed in range(30)])
    text = " ".join((RESULTS / "README.md").read_text(encoding="utf-8").split())
    assert f"from its first pull on gets {mean:.1f} of ten" in text


def test_every_picture_and_film_is_shown_and_follows_from_the_tables_or_is_listed() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    links = {
        (page.parent / link).resolve() for page in pages for link in re.findall(r"\]\(([^)#]+)\)", page.read_text())
    }
    drawn = {line.split()[1] for line in (RESULTS / "pages/figures.txt").read_text().splitlines() if line[:2] == "=="}
    for path in [*RESULTS.rglob("*.png"), *RESULTS.rglob("*.mp4")]:
        assert path.resolve() in links, path
        assert path.suffix == ".mp4" or str(path.relative_to(RESULTS)) in {*drawn, *NOT_FROM_TABLES}, path


def test_results_stay_small() -> None:
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert len(files) <= 200
    assert sum(path.stat().st_size for path in files) <= 10_000_000
