"""Who may import whom: scripts -> run -> systems -> rooms -> core; envs know the task protocol alone; no cycles."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "maml_rl.core": {"maml_rl.core"},
    "maml_rl.rl": {"maml_rl.rl", "maml_rl.core"},
    "maml_rl.supervised": {"maml_rl.supervised", "maml_rl.core"},
    "maml_rl.sb3": {"maml_rl.sb3", "maml_rl.rl", "maml_rl.core"},
    "maml_rl.systems": {"maml_rl.systems", "maml_rl.rl", "maml_rl.sb3", "maml_rl.supervised", "maml_rl.core"},
    "maml_rl.run": {"maml_rl.run", "maml_rl.systems", "maml_rl.rl", "maml_rl.supervised", "maml_rl.core", "maml_rl"},
    "envs": {"envs", "maml_rl.rl.environments.task_env"},
}
FILES = [path for package in ("maml_rl", "envs") for path in sorted((ROOT / package).rglob("*.py"))]


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if _is_module(name)} or {node.module or ""}
    return {name for name in found if name.split(".")[0] in ("maml_rl", "envs")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    room = next((name for name in ALLOWED if module.startswith(name + ".") or module == name), None)
    if room is None:
        assert module == "maml_rl.__init__"
        return
    for name in _imports(path):
        assert any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[room]), (
            f"{module} imports {name}"
        )


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
