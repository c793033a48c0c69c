"""A predictor that reports where it runs: its environment, its search path, what it can import."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch.distributed as dist

from para_attn_server import Predictor


class SurroundingsPredictor(Predictor):
    """Writes what rank zero sees as JSON."""

    pipe = None
    output_suffix = ".json"

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(self, output_path: str, prompt: str = "") -> None:
        print(prompt)
        self.log(prompt)
        seen = {"environment": dict(os.environ), "path": sys.path, "optimize": sys.flags.optimize, "prompt": prompt}
        if dist.get_rank() == 0:
            Path(output_path).write_text(json.dumps(seen))
