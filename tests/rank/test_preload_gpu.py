"""What the forkserver imports must not start CUDA's runtime: no rank forked afterwards could use a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, torch
from para_attn_server.rank.preload import NVML_CHECK, import_without_gpu

def start_the_runtime():
    raise AssertionError("CUDA's runtime was started")

torch._C._cuda_getDeviceCount = start_the_runtime  # as a CUDA build has it
torch.cuda._device_count_nvml = lambda: 1
import_without_gpu(["missing_module", "asks_for_a_gpu"])
import asks_for_a_gpu
assert asks_for_a_gpu.AVAILABLE
print(os.environ.get(NVML_CHECK))
"""


def run(folder: Path, **environment: str) -> str:
    (folder / "asks_for_a_gpu.py").write_text("import torch\nAVAILABLE = torch.cuda.is_available()\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"PYTHONPATH": str(folder), **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_import_that_asks_for_a_gpu_does_not_start_the_runtime(tmp_path: Path) -> None:
    assert run(tmp_path) == "None", "ranks ask as torch does by default"


def test_the_operators_own_choice_stays(tmp_path: Path) -> None:
    assert run(tmp_path, PYTORCH_NVML_BASED_CUDA_CHECK="0") == "0"
