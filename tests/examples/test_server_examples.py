"""The examples that need a server, against real ones on two ranks with random weights."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from pipelines import save_tiny_flux
from serving import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPT = "a large red circle on the left"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the demo predictor."""
    folder = tmp_path_factory.mktemp("demo")
    settings = {"state_dir": folder / "state", "output_dir": folder / "outputs", "model_path": folder / "weights"}
    save_tiny_flux(folder / "weights")
    server = RunningServer("demo", settings)
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()


def run(*command: str | Path, **environment: str) -> str:
    """What the example printed; fails the test unless it exits with 0."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_client(demo: RunningServer, tmp_path: Path) -> None:
    picture = tmp_path / "client.png"
    printed = run(sys.executable, EXAMPLES / "client.py", PROMPT, picture, "--url", demo.url, "--seed", "7")
    assert printed.splitlines()[-1] == f"{picture}: {picture.stat().st_size} bytes, seed 7"
    assert re.search(r"^(queued|running|succeeded)", printed)
    assert Image.open(picture).size == (128, 128)


def test_client_is_given_the_seed_that_the_server_drew(demo: RunningServer, tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    printed = run(sys.executable, EXAMPLES / "client.py", PROMPT, first, "--url", demo.url)
    seed = printed.split()[-1]
    run(sys.executable, EXAMPLES / "client.py", PROMPT, second, "--url", demo.url, "--seed", seed)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(demo: RunningServer, tmp_path: Path) -> None:
    picture = tmp_path / "curl.png"
    printed = run("sh", EXAMPLES / "curl.sh", PROMPT, picture, PARA_ATTN_SERVER_URL=demo.url)
    assert printed.splitlines()[-1] == str(picture)
    assert Image.open(picture).size == (128, 128)


def test_a_suffix_that_is_no_picture_fails_the_job_and_keeps_the_group(demo: RunningServer) -> None:
    ranks = demo.group()["ranks"]
    failed = demo.result(demo.submit(prompt=PROMPT, output_path="circle.txt"))
    assert failed.status_code == 500
    assert "a picture is made: end in one of .png .jpg .jpeg .webp, not .txt" in failed.json()["error"]["message"]
    assert demo.result(demo.submit(prompt=PROMPT, output_path="circle.jpg")).status_code == 200
    assert demo.group()["ranks"] == ranks


def test_a_predictor_of_one_s_own(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    weights = save_tiny_flux(tmp_path / "weights")
    server = serve(f"{EXAMPLES / 'predictor.py'}:PicturePredictor", model_path=weights)
    server.wait_ready()
    job = server.submit(prompt=PROMPT, size=128)
    assert server.result(job).status_code == 200
    assert Image.open(io.BytesIO(server.get(f"/outputs/{job}").content)).size == (128, 128)
