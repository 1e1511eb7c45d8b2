"""What the documentation shows works: the environment example, the named files and the links."""

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import envs  # noqa: F401  # registers them
from maml_rl.run.cli import settings_of, settings_of_each
from maml_rl.run.config import system_named
from maml_rl.run.errors import UsageError
from maml_rl.run.folder import RunFolder
from maml_rl.systems.registry import BUILT_IN, registered

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


@pytest.mark.parametrize(
    ("page", "path"),
    [
        ("adding-an-environment", "arm_tasks/arm_tasks/__init__.py"),
        ("systems", "step_size/step_size/system.py"),
    ],
)
def test_a_page_shows_its_example_package_as_it_is(page: str, path: str) -> None:
    code = (ROOT / "docs/examples" / path).read_text()
    assert f"```python\n{code}```" in (ROOT / f"docs/{page}.md").read_text()


def test_the_page_of_outputs_reads_a_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: Callable[[str, list[str]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(tmp_path / "runs/cheetah")
    small = ["--tasks", "2", "--episodes", "2", "--iterations", "1", "--environment.arguments.horizon", "4"]
    assert script("train", ["--environment.id", "envs:Navigation2D-v0", *small, "--output", run]) == 0
    capsys.readouterr()
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/outputs.md").read_text(), re.S)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    exec(code[1], {})
    assert "'layer0.weight': (100, 2)" in capsys.readouterr().out


def test_the_readmes_example_is_differentiated(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert code is not None
    losses = {}
    for penalty in ("0.09", "0.1", "0.11"):
        names: dict[str, Any] = {}
        exec(code[1].replace("torch.tensor(0.1,", f"torch.tensor({penalty},"), names)
        losses[penalty] = names["last"].item()
        if penalty == "0.1":
            slope = names["meta"]["penalty"]["l2"].grad.item()
    assert capsys.readouterr().out
    assert slope == pytest.approx((losses["0.11"] - losses["0.09"]) / 0.02, rel=1e-2)


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


def test_every_command_of_the_documentation_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "docs/examples/step_size"))
    commands = [(name, shlex.split(_filled_in(words), comments=True)) for name, words in _scripts_called()]
    assert len(commands) > 80
    refused = []
    for name, words in commands:
        if {"--resume", "--help"} & {*words} or any(re.match(r"my_package|runs/.*yaml", word) for word in words):
            continue  # what it reads is not there, or it reads nothing
        try:
            _understand(name, words)
        except UsageError as error:
            refused.append(f"{name} {' '.join(words)}: {error}")
    assert not refused, "\n".join(refused)


def _scripts_called() -> list[tuple[str, str]]:
    """Names of scripts and what follows them."""
    matches = [re.fullmatch(r"(\w+)\.py(.*)", command) for command in _commands(r"scripts/(\w+\.py[^\n`]*)")]
    return [(match[1], match[2]) for match in matches if match is not None]


def _filled_in(words: str) -> str:
    """Words of a loop in the shell as those of its first round."""
    return words.replace("; done", "").replace("$s", "1")


def _understand(name: str, words: list[str]) -> None:
    """Reads a command line as the script does; raises `UsageError` where it would refuse it."""
    path = ROOT / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if name == "train":
        parser = module.training_parser(system_named(words))
        parser.made(parser.read(words))
    elif name == "evaluate":
        _understand_evaluation(module.RunChoice, words)
    else:
        settings_of(module.Options, words, "")


def _understand_evaluation(run_choice: type, words: list[str]) -> None:
    """The same of an evaluation, whose further options are its run's, or any system's where the run is missing."""
    run = Path(words[words.index("--run") + 1])
    names = [RunFolder.open(run).system.name] if (run / "config.yaml").is_file() else [*BUILT_IN]
    refusals = []
    for name in names:
        try:
            settings_of_each([run_choice, registered(name).options], words, "")
        except UsageError as error:
            refusals.append(error)
    if len(refusals) == len(names):
        raise refusals[0]
