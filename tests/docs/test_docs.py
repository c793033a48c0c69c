"""The pages hold what the code has, all of it, and name nothing that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from para_attn_server.cli.main import COMMANDS, INTERRUPTED
from para_attn_server.core.errors import ExitCode
from para_attn_server.core.job import TRANSITIONS
from para_attn_server.core.settings import ENV_PREFIX, Settings, load_settings
from para_attn_server.core.wire.control import GroupState
from para_attn_server.http.app import create_app

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "para_attn_server"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
IN_CODE = re.compile(r"`([^`\n]+)`")
SUFFIXES = (".py", ".md", ".toml", ".txt", ".sh", ".yaml", ".cfg")
TOP_LEVEL = {".ci", "benchmarks", "docs", "examples", "para_attn_server", "predictors", "tests"}


def text(page: str | Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its fences, whose lines begin with `#` for other reasons."""
    return FENCED.sub("", text(page))


def rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text(page).splitlines() if line[:1] == "|"
    ]


def calls(folder: Path, name: str) -> Iterator[ast.Call]:
    """Every call of that function in the sources of a folder."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name:
                yield node


def constant(call: ast.Call, position: int) -> str | None:
    """A call's argument at that position where it is a literal text."""
    argument = call.args[position] if len(call.args) > position else None
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None


def test_the_list_of_libraries_is_what_is_installed() -> None:
    section = text("docs/architecture.md").partition("\n## Libraries\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([a-z].+?) \|", section, re.M)[1:]  # below the table's head
    listed = {name for cell in cells for name in re.sub(r" \(.*?\)", "", cell).split(", ")}
    required = "".join(re.findall(r"^(?:CLIENT|SERVER) .*", text("setup.py"), re.M))
    assert listed == set(re.findall(r'"([a-z-]+)', required))


# --- settings and commands ---


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    page = text("docs/settings.md")
    assert f"`--{name.replace('_', '-')}`" in page
    assert f"`{ENV_PREFIX}{name.upper()}`" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page: Path) -> None:
    known = {f"--{no}{name.replace('_', '-')}" for name in Settings.model_fields for no in ("", "no-")}
    known |= {
        "--url",
        "--param",
        "--output",
        "--json",
        "--status",
        "--limit",
        "--metadata",
        "--help",
        "--version",
        "--listen",
        "--controller-timeout",
    }
    lines = [line for line in text(page).splitlines() if "para-attn-server" in line]
    named = {option for line in lines for option in re.findall(r"(?<=\s)--[a-z][a-z-]+", line)}
    named |= {code.split()[0] for code in IN_CODE.findall(prose(page)) if code.startswith("--")}
    of_others = {"--constraint", "--index-url", "--nproc-per-node", "--format", "--check"}
    assert named <= known | of_others | options_of_our_scripts()


def options_of_our_scripts() -> set[str]:
    """What the scripts in examples/ and benchmarks/ take."""
    sources = [path.read_text() for top in ("examples", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    return {option for source in sources for option in re.findall(r'add_argument\("(--[a-z-]+)"', source)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_mentioned(command: str) -> None:
    assert command in text("README.md") + text("docs/operations.md")


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_every_exit_code_is_documented(page: str) -> None:
    documented = {row[0] for row in rows(page)}
    assert {str(int(code)) for code in ExitCode} | {"1", str(INTERRUPTED)} <= documented
    if page == "docs/operations.md":
        assert {f"`{code.name}`" for code in ExitCode} <= {row[1] for row in rows(page) if len(row) > 1}


# --- HTTP ---


def routes() -> set[tuple[str, str]]:
    service: Any = None
    rules = create_app(service, load_settings()).url_map.iter_rules()
    return {
        (method, re.sub("<[a-z]+_id>", "<id>", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def documented_routes() -> set[tuple[str, str]]:
    found = [(row[0], re.search(r" (/\S*)`$", row[0])) for row in rows("docs/http-api.md")]
    return {(method, path[1]) for cell, path in found if path for method in re.findall("GET|POST|DELETE", cell)}


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    assert documented_routes() == routes()


@pytest.mark.parametrize(("method", "path"), sorted(routes()))
def test_every_route_has_a_section(method: str, path: str) -> None:
    headings = [line for line in text("docs/http-api.md").splitlines() if line.startswith("## ")]
    assert path == "/" or any(f"{path}`" in heading and method in heading for heading in headings), (method, path)


def problem_types() -> set[str]:
    kinds = [call.args[1] for call in calls(PACKAGE / "http", "ProblemType")]
    slugs = {kind.value for kind in kinds if isinstance(kind, ast.Constant) and kind.value}
    assert len(slugs) > 10
    return slugs


def test_every_problem_type_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `urn:para-attn-server:problem:([a-z-]+)`", text("docs/http-api.md"), re.M)
    assert sorted(documented) == sorted(problem_types())


def test_every_header_of_a_job_is_documented() -> None:
    read = set(re.findall(r'headers\.get\("([A-Za-z-]+)"\)', text("para_attn_server/http/native/headers.py")))
    assert len(read) >= 3 and {f"`{name}`" for name in read} <= {row[0] for row in rows("docs/http-api.md")}


def test_every_error_type_of_a_job_is_documented() -> None:
    kinds = {kind for call in calls(PACKAGE, "JobError") if (kind := constant(call, 0))} | {"poison"}
    documented = {row[0] for row in rows("docs/http-api.md")}
    assert {f"`{kind}`" for kind in kinds} <= documented


@pytest.mark.parametrize("state", GroupState)
def test_every_state_of_a_group_is_documented(state: GroupState) -> None:
    assert [f"`{state.value}`"] in [row[:1] for row in rows("docs/http-api.md")]


# --- a job's life ---


def test_the_table_of_transitions_is_the_one_of_the_code() -> None:
    statuses = {f"`{status}`" for status in TRANSITIONS}
    documented = {(row[0], row[1]) for row in rows("docs/job-life.md") if set(row[:2]) <= statuses}
    assert documented == {(f"`{source}`", f"`{target}`") for source in TRANSITIONS for target in TRANSITIONS[source]}


def test_every_event_is_documented() -> None:
    written = {kind for call in calls(PACKAGE / "stores", "_add_event") if (kind := constant(call, 2))}
    written |= {kind for call in calls(PACKAGE / "pool", "LogRow") if (kind := constant(call, 1))}
    documented = {row[0].strip("`") for row in rows("docs/job-life.md")}
    assert len(written) >= 10 and written <= documented


# --- what is named is there ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    for code in IN_CODE.findall(prose(page)):
        top = code.split("/")[0]
        is_ours = "/" in code and (top in TOP_LEVEL or (PACKAGE / top).is_dir())
        if is_ours and code.endswith((*SUFFIXES, "/")) and not re.search(r"[\s:*<]", code):
            assert any((root / code).exists() for root in (ROOT, PACKAGE, page.parent)), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    names = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.M)}
    names |= {path.stem for path in (ROOT / "tests").rglob("*.py")}
    assert set(re.findall(r"\btest_\w+", text(page))) <= names


def test_the_readme_leads_to_every_page() -> None:
    linked = {target.partition("#")[0] for target in LINK.findall(text("README.md"))}
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked


def test_the_layers_in_the_docs_are_those_that_are_enforced() -> None:
    tree = ast.parse(text("tests/test_layers.py"))
    (allowed,) = (ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.AnnAssign) and n.value)
    documented: dict[str, set[str]] = {}
    for row in rows("docs/architecture.md"):
        if len(row) == 3:
            for layer in IN_CODE.findall(row[0]):
                documented[layer.rstrip("/")] = set(IN_CODE.findall(row[1]))
    for layer, imports in allowed.items():
        if layer not in ("core", "__init__", "__main__"):
            assert documented[layer] == imports, layer


def test_what_the_readme_shows_of_the_demo_is_what_it_prints() -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```", text("README.md"), re.M | re.S)
    script = text("examples/demo.py")
    lines = [line.partition("s] ")[2] for line in shown.splitlines() if line.startswith("[")]
    assert len(lines) >= 5
    for line in lines:
        assert line.split(": ")[0].split(" is ")[0].split(' "')[0] in script, line
