"""Every command and every script in the README and the guides is run as it is printed there.

An HTML comment before a fence says how: `<!-- test: KIND EXPECTATION -->`. Kinds:

    server      run against a server that the README's own `start` block has started
    shell       run by itself in an empty folder (ports of this machine are replaced)
    script      a Python program, run by itself in an empty folder
    beside      a program run in the folder of the server, by another process
    torchrun    a program run by torchrun on two ranks
    start       a command that serves; `options`: one that is only parsed
    make, pip   make targets and packages that must be there; nothing is installed
    is FILE     the end of that file

Expectations: `writes FILE` (a picture), `prints TEXT` (as the last line).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from ranks import free_port

from para_attn_server import Client
from para_attn_server.cli import serve
from para_attn_server.core import install
from para_attn_server.core.settings import ENV_PREFIX
from para_attn_server.rank.loader import load_class

ROOT = Path(__file__).parents[2]
GUIDES = ("http-api", "job-life", "operations", "step-control", "stores")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / f"{name}.md" for name in GUIDES)]
FENCE = re.compile(r"(?:^<!-- test: (?P<how>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
DOCUMENTED_PORT = re.compile(r"127\.0\.0\.1:(\d{4})|--port (\d{4})")


@dataclass(frozen=True)
class Block:
    """One fence of a page."""

    page: str
    line: int
    how: str
    language: str
    code: str

    @property
    def kind(self) -> str:
        return self.how.split()[0] if self.how else ""

    @property
    def expected(self) -> tuple[str, str]:
        """`writes` or `prints`, and what; empty where nothing but success is expected."""
        _, word, what = (self.how + "  ").split(" ", 2)
        return word, what.strip()


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start("code"))
            yield Block(page.name, line, match["how"] or "", match["language"], match["code"])


BLOCKS = list(blocks())


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    found = [block for block in BLOCKS if block.kind in kinds]
    return pytest.mark.parametrize("block", found, ids=lambda block: f"{block.page}:{block.line}")


def environment(**more: str) -> dict[str, str]:
    """The reader's: the commands are in the PATH, and no setting is made."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return {**clean, "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}", "COLUMNS": "200", **more}


def run(block: Block, folder: Path, code: str, **more: str) -> None:
    """Run a block in a folder and hold it to its expectation."""
    command = ["bash", "-e", "-o", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    with (folder / "printed").open("w+") as output:
        process = subprocess.Popen(
            [*command, code], cwd=folder, env=environment(**more), stdout=output, stderr=output, start_new_session=True
        )
        try:
            status = process.wait(150)
        finally:
            with contextlib.suppress(ProcessLookupError):  # also what a block that failed half-way has left running
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            output.seek(0)
            printed = output.read()
    assert status == 0, printed
    word, what = block.expected
    if word == "writes":
        with Image.open(folder / what) as picture:
            assert picture.size == (128, 128)
    elif word == "prints":
        assert what in printed.splitlines(), printed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server as the README starts it, but on a free port and in a folder of its own; its URL and that folder."""
    (start,) = (block for block in BLOCKS if block.kind == "start")
    port = free_port()
    folder = tmp_path_factory.mktemp("reader")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            shlex.split(start.code),
            cwd=folder,
            env=environment(**{f"{ENV_PREFIX}PORT": str(port)}),
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            with Client(url) as client:
                client.wait_ready(120)
            yield url, folder
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def test_every_command_and_script_is_tested() -> None:
    for block in BLOCKS:
        assert block.how or block.language not in ("sh", "python"), f"{block.page}:{block.line} says no way to test it"
        assert block.kind in (
            "",
            "server",
            "shell",
            "script",
            "start",
            "options",
            "make",
            "pip",
            "is",
            "beside",
            "torchrun",
        )


@of_kind("server")
def test_against_a_server(block: Block, server: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = server
    run(block, tmp_path, block.code.replace("http://127.0.0.1:5000", url), **{f"{ENV_PREFIX}URL": url})


@of_kind("beside")
def test_beside_a_server(block: Block, server: tuple[str, Path]) -> None:
    _, folder = server
    run(block, folder, block.code)


@of_kind("torchrun")
def test_under_torchrun(block: Block, tmp_path: Path) -> None:
    (tmp_path / "flag.py").write_text(block.code.replace("TRIALS, STEPS = 12,", "TRIALS, STEPS = 2,"))
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "flag.py"],
        cwd=tmp_path,
        env=environment(OMP_NUM_THREADS="1", TMPDIR=str(tmp_path)),
        timeout=100,
        check=True,
    )


@of_kind("shell", "script")
def test_by_itself(block: Block, tmp_path: Path) -> None:
    code = block.code
    for port in sorted({first or second for first, second in DOCUMENTED_PORT.findall(code)}):
        code = code.replace(port, str(free_port()))
    run(block, tmp_path, code)


@of_kind("start", "options")
def test_commands_that_serve_have_options_that_exist_and_a_model_that_is_there(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for line in block.code.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "para-attn-server"
        started: list[object] = []
        monkeypatch.setattr(os, "execve", lambda *call, to=started: to.append(call))
        done = CliRunner().invoke(serve.command, arguments)
        assert done.exit_code == 0 and started, done.output
        load_class(arguments[arguments.index("--model") + 1])


@of_kind("make")
def test_make_targets_are_there(block: Block) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for line in block.code.splitlines():
        program, target, *_ = shlex.split(line, comments=True)
        assert program == "make" and target in targets, line


def test_bash_can_read_every_recipe_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z$][a-zA-Z()$/.-]*):(?!=)", (ROOT / "Makefile").read_text(), re.M)
    assert {"lint", "$(VENV)/.stamp-dev"} <= set(targets)
    for target in (target.replace("$(VENV)", ".venv") for target in targets):
        recipe = subprocess.run(
            ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        read = subprocess.run(["bash", "-n"], input=recipe, capture_output=True, text=True, check=False)
        assert recipe and read.returncode == 0, f"{target}: {read.stderr}"


@of_kind("pip")
def test_what_is_installed_is_as_the_makefile_has_it(block: Block) -> None:
    makefile, packaging = (ROOT / "Makefile").read_text(), (ROOT / "setup.py").read_text()
    for extras in re.findall(r'"\.\[([\w,-]+)\]"', block.code):
        assert all(f'"{extra}": [' in packaging for extra in extras.split(",")), extras
    for pinned in re.findall(r"\bpip==([\d.]+)", block.code):
        assert f"PIP_VERSION := {pinned}\n" in makefile
        assert f"pip-{pinned}-py3-none-any.whl" in block.code
    for option in re.findall(r"--constraint (\S+)", block.code):
        assert (ROOT / option).is_file()


@of_kind("is")
def test_a_file_that_is_shown_is_the_file_that_is_there(block: Block) -> None:
    _, name = block.how.split()
    assert (ROOT / name).read_text(encoding="utf-8").endswith(block.code)


def test_the_torch_of_the_cpu_note_is_the_one_that_was_tested() -> None:
    (noted,) = re.findall(r"torch==[\d.]+\d", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert noted in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("pip", ["24.0", "26.3"])
def test_the_install_commands_work_with_any_pip_and_leave_it_as_it_is(pip: str, tmp_path: Path) -> None:
    """Resolved for real; only the unpacking of gigabytes is left out."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", f"pip=={pip}"], check=True)
    (block,) = (block for block in BLOCKS if block.kind == "pip")
    _, *lines = block.code.splitlines()
    for line in [*lines, *install.PARA_ATTN.split(" && ")]:
        words = shlex.split(line.replace(".venv", f"{tmp_path}/venv").replace("pip install", "pip install --dry-run"))
        if not words[0].startswith("/"):
            words[0] = str(python.with_name(words[0]))
        done = subprocess.run(words, cwd=ROOT if ".[" in line else tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    version = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith(f"pip {pip} ")
