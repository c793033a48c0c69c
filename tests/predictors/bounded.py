"""A predictor for hostile clients: arguments of many kinds, each bounded so that no job takes long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from pydantic import BaseModel, Field

from para_attn_server import Predictor


class Point(BaseModel, extra="forbid"):
    """A nested argument."""

    x: Annotated[float, Field(ge=-1, le=1)]
    y: Annotated[float, Field(ge=-1, le=1)] = 0.0


class BoundedPredictor(Predictor):
    """Writes its arguments down after some steps. fail: raise at the first step, on all ranks."""

    output_suffix = ".json"

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(
        self,
        prompt: Annotated[str, Field(max_length=200)],
        steps: Annotated[int, Field(ge=1, le=3)] = 1,
        scale: Annotated[float, Field(gt=0, le=20)] = 3.5,
        mode: Literal["fast", "good"] = "fast",
        size: Annotated[str, Field(pattern=r"^[0-9]{1,4}x[0-9]{1,4}$")] = "64x64",
        points: Annotated[list[Point], Field(max_length=4)] = [],  # noqa: B006
        weights: dict[str, float] | None = None,
        anything: Any = None,
        fail: bool = False,
        seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0,
        *,
        output_path: str,
    ) -> None:
        for step in range(1, steps + 1):
            dist.all_reduce(torch.ones(1))
            if fail:
                raise ValueError("asked to fail, see /etc/very/secret.txt")
            self.step(step, steps)
        if dist.get_rank() == 0:
            Path(output_path).write_text(json.dumps([prompt, steps, scale, mode, size, weights, anything, seed]))
