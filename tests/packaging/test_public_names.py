"""What users import: it is there, and whatever shows how to use this package needs nothing else of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import para_attn_server

ROOT = Path(__file__).parents[2]
PUBLIC = {"para_attn_server", "para_attn_server.parallel"}
STORE_CONTRACT = {"para_attn_server.core.errors", "para_attn_server.core.job"}
"""What docs/stores.md shows beside: the types of a store, for those who write one."""
SCRIPTS = sorted([*ROOT.glob("examples/*.py"), *ROOT.glob("predictors/*.py")])
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def modules(source: str) -> set[str]:
    """The modules of this package that a source imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] == "para_attn_server"}


def test_every_public_name_is_there_and_in_order() -> None:
    assert sorted(para_attn_server.__all__) == para_attn_server.__all__
    for name in para_attn_server.__all__:
        assert getattr(para_attn_server, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Sever'"):
        para_attn_server.Sever  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(para_attn_server.__file__).read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name for node in guarded.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert seen | {"__version__"} == set(para_attn_server.__all__)


def test_importing_the_package_loads_none_of_it() -> None:
    code = "import sys, para_attn_server; print([m for m in sys.modules if m.startswith('para_attn_server.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_examples_and_predictors_import_public_names_only(script: Path) -> None:
    assert modules(script.read_text()) <= PUBLIC


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_show_public_names_only(page: Path) -> None:
    lines = re.findall(r"^(?:from|import) para_attn_server.*", page.read_text(encoding="utf-8"), re.M)
    allowed = PUBLIC | (STORE_CONTRACT if page.name == "stores.md" else set())
    assert {module for line in lines for module in modules(line.rstrip("("))} <= allowed
