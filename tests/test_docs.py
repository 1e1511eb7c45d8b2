"""What the documentation shows works: the environment example, the named files and the links."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest

from maml_rl.run.folder import RunFolder
from maml_rl.systems.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_environment_example_trains_evaluates_and_passes_gymnasiums_checker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Callable[[str, list[str]], int]
) -> None:
    code = re.search(r"```python\n# reach_1d.py\n(.*?)```", (ROOT / "docs/adding-an-environment.md").read_text(), re.S)
    assert code is not None
    (tmp_path / "reach_1d.py").write_text(code[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    run = str(tmp_path / "run")
    small = ["--tasks", "3", "--episodes", "5", "--iterations", "3", "--torch_threads", "1"]
    try:
        argv = ["--environment.id", "reach_1d:Reach1D-v0", "--environment.arguments", "{}", "--output", run, *small]
        assert script("train", argv) == 0
        assert script("evaluate", ["--run", run, "--tasks", "2", "--episodes", "3"]) == 0
        assert script("render", ["--run", run, "--tasks", "2", "--output", str(tmp_path / "reach.gif")]) == 0
    finally:
        gym.registry.pop("Reach1D-v0", None)
        sys.modules.pop("reach_1d", None)


@pytest.mark.parametrize("page", ["environments", "stable-baselines3"])
def test_the_lines_of_a_page_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert capsys.readouterr().out


def test_the_page_shows_the_example_package_as_it_is() -> None:
    code = (ROOT / "docs/examples/arm_tasks/arm_tasks/__init__.py").read_text()
    assert f"```python\n{code}```" in (ROOT / "docs/adding-an-environment.md").read_text()


def test_the_readmes_example_adapts(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert code is not None
    exec(code[1], {})
    losses = [float(number) for number in re.findall(r"[\d.]+", capsys.readouterr().out)]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs/results").rglob("config.yaml")), ids=lambda path: path.parent.name
)
def test_stored_runs_can_be_opened(path: Path) -> None:
    RunFolder.open(path.parent)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text()
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if not target.startswith("http"):
            named = page.parent / target if target else page
            assert named.exists(), target
            assert not anchor or anchor in _anchors(named), f"{target}#{anchor}"
    for name in re.findall(r"\b((?:configs|docs|scripts|tests|envs|maml_rl)/[\w./-]+\.(?:py|yaml|md|png|csv))", text):
        assert (ROOT / name).exists() or (page.parent / name).exists(), name


def _anchors(page: Path) -> set[str]:
    """Of a page's headings: lower case, words joined by hyphens, marks left out."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(pattern: str) -> list[str]:
    """What follows `python ` in the documentation; a command may go on in the next line."""
    texts = [re.sub(r"\\\n\s*", "", page.read_text()) for page in PAGES]
    return [line for text in texts for line in re.findall(rf"python {pattern}", text)]


def test_the_examples_of_the_documentation_get_the_arguments_they_want() -> None:
    commands = _commands(r"(docs/examples/[^\n`]*)")
    assert len(commands) > 3
    for command in commands:
        path, *arguments = shlex.split(command)
        assert (ROOT / path).exists()
        assert len(arguments) in (5, 6), command
        assert isinstance(json.loads(arguments[1]), dict)
        json.loads(arguments[2])
        assert gym.spec(arguments[0].partition(":")[2]).id == arguments[0].partition(":")[2]
        assert int(arguments[3]) > 0


def test_every_command_of_the_documentation_is_one_the_scripts_take(
    capsys: pytest.CaptureFixture[str], script: Callable[[str, list[str]], int]
) -> None:
    options: dict[str, set[str]] = {}
    systems = [("train", ["--system", name]) for name in BUILT_IN]
    runs = ("half-cheetah-vel", "sinusoid/seed-1")
    evaluations = [("evaluate", ["--run", str(ROOT / "docs/results" / run)]) for run in runs]
    for name, words in [
        *systems,
        *evaluations,
        ("compare", []),
        ("render", []),
        ("benchmark", []),
        ("meta_gradients", []),
        ("check_env", []),
        ("export", []),
        ("sweep", []),
        ("results", []),
        ("store_run", []),
    ]:
        with pytest.raises(SystemExit):
            script(name, [*words, "--help"])
        options.setdefault(name, set()).update(re.findall(r"--[\w.]+", capsys.readouterr().out))
    commands = _commands(r"scripts/(\w+\.py[^\n`]*)")
    assert len(commands) > 8
    for command in commands:
        name = command.partition(".py")[0]
        for option in re.findall(r"(?<=\s)--[\w.]+", command):
            known = any(option == other or option.startswith(other + ".") for other in options[name])
            assert known, f"{option} in {command}"
