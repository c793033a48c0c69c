"""A server in odd surroundings: files that shadow modules, a launcher's environment, `python -OO`, the C locale, and
names of files that are no text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ranks import free_port
from serving import RunningServer, shared_server

from para_attn_server import Client

PREDICTOR = Path(__file__).parents[1] / "predictors" / "surroundings.py"
TORCHRUN = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "3", "ROLE_NAME": "x"}
BARE = {"PYTHONOPTIMIZE": "2", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ODD = os.fsdecode("größe \xff\n'$".encode("latin-1"))
"""A name that Linux allows and no encoding does."""
TEXT = "größe 中 \U0001f600"
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
    top = tmp_path_factory.mktemp("surroundings") / ODD
    top.mkdir()
    shutil.copy(PREDICTOR, shadow(top / "predictors") / f"{ODD}.py")
    shadow(top / "work")
    return top


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    """Two ranks, started there from a program that torchrun has started."""
    model, env = (
        f"{folder / 'predictors' / ODD}.py:SurroundingsPredictor",
        {**TORCHRUN, **STALE, **BARE, "NCCL_DEBUG": "INFO"},
    )
    yield from shared_server(model, folder, env, folder / "work", setup_timeout="60s")


def test_files_that_shadow_the_standard_library_and_a_launchers_variables_are_not_in_the_way(
    server: RunningServer, folder: Path
) -> None:
    assert server.result(server.submit(prompt=TEXT)).status_code == 200
    (output,) = (folder / "outputs").rglob("*.json")
    seen = json.loads(output.read_text())
    assert (seen["prompt"], seen["optimize"]) == (TEXT, 1)
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


def test_answers_name_such_files_and_clients_save_to_such_names(server: RunningServer, folder: Path) -> None:
    job_id = server.submit(prompt=TEXT)
    answer = server.result(job_id)
    day = time.strftime("%Y/%m/%d", time.gmtime(answer.json()["created_at"]))
    assert answer.json()["output_path"] == str(folder / "outputs" / day / f"{job_id}.json")
    assert server.get(f"/outputs/{job_id}").json()["prompt"] == TEXT
    for path in ("/server_status", "/schema", "/openapi.json", "/readyz", f"/request_status/{job_id}"):
        assert server.get(path).status_code == 200, path
    with Client(server.url) as client:
        for name in (ODD, "x" * 255, " ", "-", TEXT):
            assert json.loads(client.save(job_id, folder / name).read_text())["prompt"] == TEXT
    assert not list(folder.glob("*.part")) + list(folder.glob(".*.part"))


@pytest.mark.parametrize("arguments", [["status"], ["status", "ID"], ["generate", TEXT, "-o", ODD]])
def test_commands_write_what_the_locale_has_no_characters_for(
    server: RunningServer, folder: Path, arguments: list[str]
) -> None:
    job_id = server.submit(prompt=TEXT)
    words = [job_id if word == "ID" else word for word in arguments]
    command = [sys.executable, "-P", "-m", "para_attn_server", *words, "--url", server.url]
    env = {**os.environ, **BARE}
    done = subprocess.run(command, cwd=folder, capture_output=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_server_whose_words_find_no_place_serves(tmp_path: Path, streams: str) -> None:
    port = str(free_port())
    options = ["--model", f"{PREDICTOR}:SurroundingsPredictor", "--num-devices", "2", "--port", port]
    options += ["--preload", "torch.distributed"]
    options += ["--state-dir", str(tmp_path / "s"), "--output-dir", str(tmp_path / "o")]
    command = ["bash", "-c", f'exec "$0" -P -m para_attn_server "$@" {streams}', sys.executable, *options]
    server = subprocess.Popen(command)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            client.wait_ready(90)
            client.generate(tmp_path / "saved.json", prompt=TEXT)
        assert json.loads((tmp_path / "saved.json").read_text())["prompt"] == TEXT
    finally:
        server.terminate()
        code = server.wait(60)
    assert code == 0


SCRIPT = """
import sys
from pathlib import Path
from para_attn_server import ParaAttentionServer
from surroundings import SurroundingsPredictor
folder = Path(sys.argv[1])
places = {"state_dir": folder / "s", "output_dir": folder / "o"}
with ParaAttentionServer(SurroundingsPredictor, port=0, num_devices=1, preload="torch.distributed", **places) as server:
    server.client.generate(folder / "saved.json", prompt=sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("optimize", ["-O", "-OO"])
def test_a_program_without_streams_serves(tmp_path: Path, optimize: str) -> None:
    shell = 'exec "$0" "$@" <&- >&- 2>&-'
    command = ["bash", "-c", shell, sys.executable, optimize, "-c", SCRIPT, str(tmp_path), TEXT]
    env = {**os.environ, "PYTHONPATH": str(PREDICTOR.parent)}
    assert subprocess.run(command, env=env, timeout=120, check=False).returncode == 0
    assert json.loads((tmp_path / "saved.json").read_text())["prompt"] == TEXT
