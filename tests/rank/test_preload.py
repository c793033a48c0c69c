"""What the forkserver imports by default, it imports without a word."""

from __future__ import annotations

import os
import subprocess
import sys

from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import CONTROLLER_VARIABLE, PRELOAD_VARIABLE
from para_attn_server.executors.local import preloaded


def test_the_default_preload_says_nothing() -> None:
    """Without torchvision, transformers would tell of each image processor that another one takes its place."""
    variables = {CONTROLLER_VARIABLE: str(os.getpid()), PRELOAD_VARIABLE: Settings.model_fields["preload"].default}
    code = "import sys, para_attn_server.rank.preload; print('diffusers.pipelines.flux.pipeline_flux' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | variables, timeout=240
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert done.stderr == ""


def test_a_rank_imports_nothing_again_to_be_started() -> None:
    """pydantic-settings alone, which came with the executors' module, cost each restart of a rank 0.1 s."""
    variables = {CONTROLLER_VARIABLE: str(os.getpid()), PRELOAD_VARIABLE: preloaded("")}
    code = (
        "import sys, para_attn_server.rank.preload; before = set(sys.modules)\n"
        "import para_attn_server.executors.local; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | variables)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
