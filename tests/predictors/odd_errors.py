"""A predictor whose own code is careless with exceptions: in a validator, and in what an exception says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Literal

import torch.distributed as dist
from pydantic import AfterValidator, Field

from para_attn_server import Predictor

STYLES = {"oil": "oil", "ink": "ink"}
SURROGATE = "cannot read caf\udce9.png"


class Wordless(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        return f"code {self.code}"  # type: ignore[attr-defined]


def known(style: str) -> str:
    """Raises KeyError, which pydantic passes on, for an unknown style; `rank N` is unknown on that rank only."""
    elsewhere = style.startswith("rank ") and style != f"rank {os.environ['RANK']}"
    return style if elsewhere else STYLES[style]


def of_this_rank(own: bool) -> int:
    """The rank's own number where it is asked for: what no argument may be."""
    return int(os.environ["RANK"]) if own else 0


class OddErrorsPredictor(Predictor):
    """Steps without a model. error: what to raise after the first of them, on all ranks.

    late: write on every rank, on all but rank zero later.
    """

    pipe = None
    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(
        self,
        style: Annotated[str, AfterValidator(known)] = "oil",
        error: Literal["none", "wordless", "surrogate"] = "none",
        steps: Annotated[int, Field(ge=1, le=1000)] = 3,
        own: Annotated[bool, AfterValidator(of_this_rank)] = False,
        late: bool = False,
        *,
        output_path: str,
    ) -> None:
        for step in range(1, steps + 1):
            time.sleep(0.02)
            self.step(step, steps)
            if error == "wordless":
                raise Wordless
            if error == "surrogate":
                raise ValueError(SURROGATE)
        if late and dist.get_rank():
            time.sleep(0.3)
        if late or dist.get_rank() == 0:
            Path(output_path).write_text(f"{style} of rank {dist.get_rank()}")
