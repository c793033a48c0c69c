"""`make demo` without make: examples/demo.py from start to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def demo(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO, "a small green star on a white background"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_the_demo_draws_a_picture_and_says_what_it_does(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "outputs" / "demo.png"
    assert str(picture) in done.stdout
    with Image.open(picture) as image:
        assert image.size == (128, 128)
    assert "rank 1 is process" in done.stdout
    assert "running, step" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.slow
def test_a_demo_that_cannot_start_shows_the_servers_log(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    done = demo(tmp_path, PARA_ATTN_SERVER_MODEL_PATH=str(weights))
    assert done.returncode == 1
    assert "[error" in done.stderr
    assert "the demo failed: setup failed on rank" in done.stderr
