"""The package without an extra, in an environment of its own: the client and the command line, and nothing heavy."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import COUNTING, RunningServer

MEGABYTES = 40

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a new environment with the package; its size is checked."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    before = megabytes(folder / "venv")
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", source / "constraints.txt", str(source)], check=True, timeout=300)
    assert megabytes(folder / "venv") - before <= MEGABYTES
    return folder / "venv" / "bin"


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("serving")
    running = RunningServer(COUNTING, {"state_dir": folder / "state", "output_dir": folder / "outputs"})
    running.wait_ready()
    yield running
    running.terminate()


def run(*command: str | Path, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)


def test_it_talks_to_a_server(alone: Path, server: RunningServer, tmp_path: Path) -> None:
    command, url = alone / "para-attn-server", f"--url={server.url}"
    done = run(command, "generate", url, "steps=2", "seed=7", "-o", "a.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.txt").read_text().startswith("7 ")
    assert run(command, "status", url, cwd=tmp_path).returncode == 0
    code = f"from para_attn_server import Client; print(Client({server.url!r}).generate('b.txt', seed=8))"
    assert run(alone / "python", "-c", code, cwd=tmp_path).returncode == 0
    assert (tmp_path / "b.txt").read_text().startswith("8 ")


@pytest.mark.parametrize(
    "command",
    [["--model", "demo"], ["agent"], ["predictors"], ["try", "demo"], ["db", "current"]],
    ids=lambda words: words[0],
)
def test_what_needs_more_names_the_extra_and_what_installs_it(
    alone: Path, source: Path, tmp_path: Path, command: list[str]
) -> None:
    done = run(alone / "para-attn-server", *command, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "a server needs torch, diffusers, " in line
    assert line.endswith(f': pip install "para-attn-server[server] @ file://{source}"')


def test_what_installs_it_works_as_written(alone: Path, tmp_path: Path) -> None:
    """Resolved for real; only the unpacking of gigabytes is left out."""
    said = run(alone / "para-attn-server", "agent", cwd=tmp_path).stderr
    words = shlex.split(said[said.index("pip install") :].replace("pip install", "install --dry-run --quiet"))
    done = run(alone / "pip", *words, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_python_api_names_it_too(alone: Path, tmp_path: Path) -> None:
    done = run(alone / "python", "-c", "from para_attn_server import ParaAttentionServer", cwd=tmp_path)
    assert "ImportError: ParaAttentionServer needs what a server needs: pip install" in done.stderr
