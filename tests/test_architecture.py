"""Who may import whom, and who may know what: run and scripts treat all systems alike, by their contract alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from maml_rl.systems.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "maml_rl.core": {"maml_rl.core"},
    "maml_rl.optim": {"maml_rl.optim", "maml_rl.core"},
    "maml_rl.rl": {"maml_rl.rl", "maml_rl.core"},
    "maml_rl.supervised": {"maml_rl.supervised", "maml_rl.core"},
    "maml_rl.problems": {"maml_rl.problems", "maml_rl.supervised", "maml_rl.core"},
    "maml_rl.search": {"maml_rl.search", "maml_rl.core"},
    "maml_rl.sb3": {"maml_rl.sb3", "maml_rl.rl", "maml_rl.core"},
    "maml_rl.systems": {
        "maml_rl.systems",
        "maml_rl.rl",
        "maml_rl.sb3",
        "maml_rl.problems",
        "maml_rl.search",
        "maml_rl.supervised",
        "maml_rl.core",
    },
    "maml_rl.run": {"maml_rl.run", "maml_rl.systems", "maml_rl.rl", "maml_rl.supervised", "maml_rl.core", "maml_rl"},
    "envs": {"envs", "maml_rl.rl.environments.task_env"},
}
FILES = [path for package in ("maml_rl", "envs") for path in sorted((ROOT / package).rglob("*.py"))]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
FOR_ALL_SYSTEMS = [path for path in FILES if (ROOT / "maml_rl" / "run") in path.parents] + SCRIPTS
METRICS = {"accuracy", "adaptation_gain", "env_steps", "error", "loss_after", "meta_loss", "return", "return_after",
           "return_before", "returns", "success", "validation_accuracy", "validation_error",
           "validation_score"}  # fmt: skip
DEFAULTS = {("maml_rl/run/config.py", "maml_trpo"), ("maml_rl/run/sweep/options.py", "return_after")}
"""Names that stand in run or scripts because they are an option's default, and nothing else."""
FOREIGN = {"_replace", "_asdict", "_fields", "_trial_id"}
"""Attributes with an underscore that are public all the same: those of named tuples, and Optuna's number of a trial."""


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in inner if _is_module(name)} or {node.module or ""}
    return {name for name in names if name.split(".")[0] in ("maml_rl", "envs")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    room = next((name for name in ALLOWED if module.startswith(name + ".") or module == name), None)
    if room is None:
        assert module == "maml_rl.__init__"
        return
    for name in _imports(path):
        assert any(
            name == allowed or (allowed != "maml_rl" and name.startswith(allowed + ".")) for allowed in ALLOWED[room]
        ), f"{module} imports {name}"


def test_there_is_no_cycle() -> None:
    graph = {}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[module] = _imports(path)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done or module not in graph:
            return
        for name in graph[module]:
            visit(name, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_core_knows_neither_rewards_nor_labels() -> None:
    for path in (ROOT / "maml_rl" / "core").rglob("*.py"):
        names = {
            node.id if isinstance(node, ast.Name) else node.arg
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, (ast.Name, ast.arg))
        }
        assert not names & {"reward", "rewards", "label", "labels", "policy", "action", "actions", "returns"}, path


def _words(path: Path) -> Iterator[ast.Constant]:
    """The strings of a file that are no docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node


def _place(path: Path, node: ast.expr) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def _names(path: Path, forbidden: set[str]) -> list[str]:
    defaults = {word for file, word in DEFAULTS if file == path.relative_to(ROOT).as_posix()}
    return [_place(path, node) for node in _words(path) if node.value in forbidden - defaults]


@pytest.mark.parametrize("path", FOR_ALL_SYSTEMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_run_and_scripts_ask_no_system_what_it_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert not (isinstance(node.func, ast.Name) and node.func.id == "hasattr"), _place(path, node)
        if isinstance(node, ast.Compare) and any(isinstance(sign, (ast.Eq, ast.NotEq)) for sign in node.ops):
            compared = {getattr(side, "attr", getattr(side, "id", "")) for side in (node.left, *node.comparators)}
            assert "kind" not in compared, _place(path, node)
    assert not _names(path, set(BUILT_IN))


@pytest.mark.parametrize(
    "path", [path for path in FOR_ALL_SYSTEMS if path not in SCRIPTS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_run_knows_no_measure_and_no_metric_by_name(path: Path) -> None:
    assert not _names(path, METRICS)


def test_defaults_are_still_needed() -> None:
    for file, word in DEFAULTS:
        assert word in {node.value for node in _words(ROOT / file)}, file


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_reaches_into_anothers_private_attributes(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            assert own or node.attr in FOREIGN, _place(path, node)


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in ("build", "dist", "runs")]
    paths = [path for folder in folders if folder.name[0] != "." for path in folder.rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > 300} == {}
