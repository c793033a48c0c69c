"""examples/torchrun_flux.py under the real torchrun, with two ranks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pipelines import save_tiny_flux

SCRIPT = Path(__file__).parents[2] / "examples" / "torchrun_flux.py"


@pytest.mark.slow
def test_two_ranks_draw_one_picture_as_often_as_asked(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    options = {"--model-path": save_tiny_flux(tmp_path / "weights"), "--output": picture, "--size": 64, "--steps": 2}
    launcher = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT), "--repeat=3"]
        + [f"{name}={value}" for name, value in options.items()],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = launcher.communicate(timeout=90)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
    assert launcher.returncode == 0, errors[-4000:]
    assert re.fullmatch(r"(run \d: \d+\.\d{4} s\n){3}", printed)
    assert Image.open(picture).size == (64, 64)
