"""The layers of docs/architecture.md, enforced: imports go down only, and torch lives in worker/ alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "para_attn_server"

ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "rank": {"core"},
    "parallel": {"core", "rank"},
    "stores": {"core"},
    "outputs": {"core"},
    "inputs": {"core"},
    "executors": {"core"},
    "pool": {"core", "stores", "outputs", "executors"},
    "controller": {"core", "stores", "outputs", "inputs", "executors", "pool"},
    "service": {"core", "stores", "outputs", "inputs"},
    "http": {"core", "stores", "outputs", "inputs", "service"},
    "client": {"core"},
    "cli": {"core", "client"},
    "packing": {"core"},
    "server": {"core", "client"},
    "__init__": {"core", "client", "server", "stores"},
    "__main__": {"cli", "core"},
}
CORE_MAY_IMPORT = {"pydantic", "pydantic_core", "pydantic_settings", "annotated_types", "structlog"}
ARGUMENTS_MAY_IMPORT = {"jsonschema", "PIL"}  # only there: the controller has no need of it; PIL's for type checkers
TORCH = {"torch", "diffusers", "transformers", "para_attn", "accelerate"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 30


def sources(folder: Path = PACKAGE) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "demo_weights" not in path.parts)


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    layer = layer_of(path)
    for name in imports(path, top_level_only=layer == "executors"):  # executors/local.py starts the rank's main
        parts = name.split(".")
        if parts[0] == "para_attn_server" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
            assert parts[1] in ALLOWED[layer] | {layer}, f"{path.name} in {layer} imports {name}"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_lives_in_ranks_alone(path: Path) -> None:
    if layer_of(path) not in ("rank", "parallel"):
        assert not {name.split(".")[0] for name in imports(path)} & TORCH


@pytest.mark.parametrize("path", sources(PACKAGE / "core"), ids=lambda p: p.name)
def test_core_imports_the_standard_library_and_pydantic_only(path: Path) -> None:
    outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"para_attn_server"}
    further = ARGUMENTS_MAY_IMPORT if path.parent.name == "arguments" else set()
    assert outside <= CORE_MAY_IMPORT | further


def test_the_controller_does_without_the_check_of_requests() -> None:
    module = "para_attn_server.controller.controller"
    program = f"import sys, {module}; print({{'jsonschema', 'torch', 'flask'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("path", sources(ROOT / "predictors"), ids=lambda p: p.name)
def test_predictors_import_the_contract_and_the_parallel_helpers_only(path: Path) -> None:
    ours = {name for name in imports(path) if name.startswith("para_attn_server")}
    allowed = ("para_attn_server.Predictor", "para_attn_server.core.predictor", "para_attn_server.parallel")
    assert all(name.startswith(allowed) for name in ours), ours
    assert "para_attn" not in {name.split(".")[0] for name in imports(path)}


def test_para_attn_is_imported_in_one_file() -> None:
    users = [path.name for path in sources() if "para_attn" in {name.split(".")[0] for name in imports(path)}]
    assert users == ["parallel.py"]


@pytest.mark.parametrize("path", [*sources(), *sources(ROOT / "predictors")], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "migrations" not in path.parts:
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{path.name}: {node.name} has {lines} lines"


def test_no_import_runs_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sources()
    }
    for name, path in modules.items():
        found = set(imports(path, top_level_only=True))
        graph[name] = {m for t in found for m in (t, t.rpartition(".")[0]) if m in modules and m != name}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in graph[name] - {"para_attn_server"}:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
