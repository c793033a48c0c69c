"""A server in odd surroundings: files that shadow modules, a launcher's environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import RunningServer, shared_server

PREDICTOR = Path(__file__).parents[1] / "predictors" / "surroundings.py"
TORCHRUN = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "3", "ROLE_NAME": "x"}
STALE = {"RANK": "7", "LOCAL_RANK": "7", "WORLD_SIZE": "8", "MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1"}


def shadow(folder: Path) -> Path:
    """A folder in which every module of the standard library has a file by its name that breaks whoever imports it."""
    folder.mkdir()
    for name in sys.stdlib_module_names:
        (folder / f"{name}.py").write_text(f"raise AssertionError('{name} is shadowed in {folder.name}')")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A predictor among such files, in a working folder among such files."""
    top = tmp_path_factory.mktemp("surroundings")
    shutil.copy(PREDICTOR, shadow(top / "predictors") / "odd.py")
    shadow(top / "work")
    return top


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    """Two ranks, started there from a program that torchrun has started."""
    model, env = (
        f"{folder / 'predictors' / 'odd.py'}:SurroundingsPredictor",
        {**TORCHRUN, **STALE, "NCCL_DEBUG": "INFO"},
    )
    yield from shared_server(model, folder, env, folder / "work", setup_timeout="60s")


def test_files_that_shadow_the_standard_library_and_a_launchers_variables_are_not_in_the_way(
    server: RunningServer, folder: Path
) -> None:
    assert server.result(server.submit()).status_code == 200
    (output,) = (folder / "outputs").iterdir()
    seen = json.loads(output.read_text())
    ours = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "GROUP_RANK": "0"}
    assert seen["environment"].items() >= {**ours, "NCCL_DEBUG": "INFO"}.items()
    assert not [name for name in seen["environment"] if name.startswith(("TORCHELASTIC", "ROLE_"))]
    assert {str(folder / "work"), str(folder / "predictors")} < set(seen["path"])
    assert "PYTHONSAFEPATH" not in seen["environment"], "a predictor's helpers are as the machine has them"


def test_a_predictor_of_the_working_folder_is_described_in_spite_of_such_files(folder: Path) -> None:
    (folder / "work" / "here.py").write_text("class Here:\n  def predict(self, output_path, prompt: str): pass")
    shutil.copy(PREDICTOR, folder / "work" / "odd.py")
    command = [sys.executable, "-P", "-m", "para_attn_server", "predictors", "here:Here"]
    command.append("odd.py:SurroundingsPredictor")
    done = subprocess.run(command, cwd=folder / "work", capture_output=True, text=True, env=os.environ, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("prompt") == 2
