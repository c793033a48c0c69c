"""What all training stages share: a budget of CPU time, checkpoints that survive a kill, and learning rates.

Budgets count the process's own CPU seconds, so a paused (stopped) or crowded process loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .drawing import draw
from .scenes import Scene


@dataclass
class Budget:
    """How far a stage has come, as a share of the CPU seconds it may use; the share spent before a resume counts."""

    seconds: float
    spent_before: float = 0.0

    def __post_init__(self) -> None:
        """Start counting now."""
        self._start = time.process_time()

    @property
    def spent(self) -> float:
        """CPU seconds used by this stage so far, over all resumes."""
        return self.spent_before + time.process_time() - self._start

    @property
    def progress(self) -> float:
        """From 0 at the start to 1 at the end."""
        return min(1.0, self.spent / self.seconds) if self.seconds > 0 else 1.0


def learning_rate(progress: float, step: int, decay_from: float, warm_up: int = 100) -> float:
    """A factor for the learning rate: linear warm-up, a plateau, then a linear fall to 2 % at the end."""
    fall = 1.0 if progress < decay_from else (1.0 - progress) / (1.0 - decay_from)
    return max(0.02, fall) * min(1.0, (step + 1) / warm_up)


def set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every parameter group's learning rate, relative to the one it was created with."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("base_lr", group["lr"]) * factor


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint at a path, or None when there is none yet."""
    return torch.load(path, weights_only=True) if path.exists() else None


def pictures(scenes: list[Scene], rng: np.random.Generator, height: int, width: int) -> torch.Tensor:
    """Random pictures of the scenes as a batch of N x 3 x height x width, values from -1 to 1."""
    batch = np.stack([draw(scene, rng, height, width) for scene in scenes])
    return torch.from_numpy(batch).permute(0, 3, 1, 2).mul_(2).sub_(1).contiguous(memory_format=torch.channels_last)


def every(seconds: float) -> Iterator[bool]:
    """Yields True once per so many CPU seconds, else False; drives logs and checkpoints."""
    last = time.process_time()
    while True:
        now = time.process_time()
        due = now - last >= seconds
        if due:
            last = now
        yield due
