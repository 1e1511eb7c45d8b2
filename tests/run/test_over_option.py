"""The picture of what evaluations end at over an option of their runs."""

from pathlib import Path

import pytest

from tests.run.script_runs import Script

SMALL = [
    "--system",
    "synaptic_rule",
    "--lifetimes",
    "2",
    "--presentations",
    "10",
    "--iterations",
    "0",
    "--traced",
    "false",
]


def test_runs_are_grouped_by_an_option_and_drawn(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for count, seed in ((1, 1), (4, 1), (4, 2)):
        runs.append(str(tmp_path / f"{count}-{seed}"))
        options = ["--tasks.training", str(count), "--seed", str(seed), "--output", runs[-1]]
        assert script("train", [*SMALL, *options]) == 0
        assert script("evaluate", ["--run", runs[-1], "--tasks", "2", "--steps", "1", "--weights", "2"]) == 0
    capsys.readouterr()
    picture = tmp_path / "counts.png"
    drawing = ["--option", "tasks.training", "--output", str(picture)]
    assert script("over_option", ["--runs", *runs, *drawing, "--log", "true", "--measure", "learned"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("tasks.training 1: ")
    assert told[0].endswith(", 1 runs")
    assert told[1].startswith("tasks.training 4: ")
    assert told[1].endswith(", 2 runs")
    assert picture.is_file()
    for wrong, message in (
        (["--runs", *runs, "--option", "tasks.families", "--output", "x.png"], "is not a number in its configuration"),
        (["--runs", *runs, *drawing, "--measure", "taste"], "`measure` must be one of learned, loss"),
    ):
        assert script("over_option", wrong) == 2
        assert message in capsys.readouterr().err
