"""Predictors that note when they are called: one with sleeping steps, the demo model, and one that returns pictures.

Every rank appends one JSON line per job to `rank-R.jsonl` in the folder that BENCHMARK_STAMPS names. All times are
time.monotonic(), which is one clock for all processes of a machine.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from measure import STAMPS_VARIABLE
from PIL import Image

from para_attn_predictors.demo import DemoPredictor, Side
from para_attn_server import Predictor, Video


class Stamps:
    """This rank's notes. `steps`: when the work of each step of the job was done, before step control was called."""

    def __init__(self) -> None:
        folder = Path(os.environ[STAMPS_VARIABLE])
        self._file = os.open(folder / f"rank-{dist.get_rank()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.steps: list[float] = []
        self.passed: list[float] = []

    def begin(self) -> float:
        """Forget the last job's steps; the time now."""
        started = time.monotonic()
        self.steps, self.passed = [], []
        return started

    def end(self, job: int | None, started: float) -> None:
        """Write the line."""
        ended = time.monotonic()
        note = {"job": job, "started": started, "ended": ended, "steps": self.steps, "passed": self.passed}
        os.write(self._file, json.dumps(note).encode() + b"\n")


class SleepingPredictor(Predictor):
    """Sleeps and does one all_reduce in every step; the seed is the job's number.

    jitter: each rank sleeps up to that many seconds more, differently, at every step.
    """

    pipe = None
    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")
        self.stamps = Stamps()

    def predict(
        self, steps: int = 5, delay: float = 0.02, jitter: float = 0.0, seed: int = 0, *, output_path: str
    ) -> None:
        started = self.stamps.begin()
        try:
            self._work(steps, delay, jitter, random.Random(seed * 1000 + dist.get_rank()))
            if dist.get_rank() == 0:
                Path(output_path).write_text(f"{seed}\n")
        finally:
            self.stamps.end(seed, started)

    def _work(self, steps: int, delay: float, jitter: float, rng: random.Random) -> None:
        value = torch.zeros(1, dtype=torch.float64)
        for step in range(1, steps + 1):
            if delay or jitter:
                time.sleep(delay + rng.uniform(0, jitter))
            dist.all_reduce(value)
            self.stamps.steps.append(time.monotonic())
            self.step(step, steps)
            self.stamps.passed.append(time.monotonic())


class TimedDemoPredictor(DemoPredictor):
    """The demo model; its first and last lines and its steps are noted, by a callback as any user may pass one."""

    def setup(self) -> None:
        super().setup()
        self.stamps = Stamps()

    def predict(  # writes its file itself: a bare torchrun has nobody to whom it could return
        self,
        prompt: str,
        output_path: str,
        height: Side = 128,
        width: Side = 128,
        num_inference_steps: int = 20,
        seed: int = 0,
    ) -> None:
        started = self.stamps.begin()
        try:
            drawn = super().predict(prompt, height, width, num_inference_steps, seed)
            if dist.get_rank() == 0:
                drawn.images[0].save(output_path)
        finally:
            self.stamps.end(seed, started)

    def draw(self, seed: int | None, **arguments: Any) -> Any:
        return super().draw(seed, callback_on_step_end=self._note, **arguments)

    def _note(self, _pipe: Any, _index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self.stamps.steps.append(time.monotonic())
        return tensors


class FaultyDemoPredictor(TimedDemoPredictor):
    """The demo model on small pictures; raises on rank `raise_on` after step `raise_at`, -1 being nowhere."""

    def predict(
        self,
        prompt: str,
        output_path: str,
        height: Side = 64,
        width: Side = 64,
        num_inference_steps: int = 20,
        seed: int = 0,
        raise_on: int = -1,
        raise_at: int = 1,
    ) -> None:
        self._raise_at = raise_at if raise_on == dist.get_rank() else -1
        super().predict(prompt, output_path, height, width, num_inference_steps, seed)

    def _note(self, pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        super()._note(pipe, index, timestep, tensors)
        if index + 1 == self._raise_at:
            raise RuntimeError("this was asked for")
        return tensors


class DrawnPredictor(Predictor):
    """Sleeps for the given time, as a GPU's host does; then draws, and returns what it has drawn or throws it away.

    frames: 0 draws one picture of 1024 x 1024 pixels, more a video of 768 x 512 pixels.
    """

    pipe = None

    def setup(self) -> None:
        dist.init_process_group("gloo")
        self.stamps = Stamps()
        random = np.random.default_rng(0)
        rows, columns = np.mgrid[0:1024, 0:1024] / 1024
        smooth = np.stack([rows, columns, rows * columns], axis=2) * 200
        self.canvas = (smooth + random.normal(20, 6, smooth.shape)).clip(0, 255).astype(np.uint8)

    def predict(self, seconds: float, frames: int = 0, returned: bool = True, seed: int = 0) -> Any:
        started = self.stamps.begin()
        time.sleep(seconds)
        if frames:
            drawn: Any = Video([self._frame(4 * number) for number in range(frames)], fps=24)
        else:
            drawn = Image.fromarray(self.canvas)
        if not returned:
            drawn = "thrown away"
        self.stamps.end(seed, started)
        return drawn

    def _frame(self, moved: int) -> Image.Image:
        return Image.fromarray(np.roll(self.canvas[:512, :768], moved, axis=1))
