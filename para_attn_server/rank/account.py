"""What a run has really used on this rank: values, seconds, memory. It watches and decides nothing.

The values are compared over the ranks by the controller (pool/results.py), so they say what must be the same on all.
"""

from __future__ import annotations

import contextlib
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_MOST = 4096
"""Characters of JSON that a predictor may report of one job: the job's row holds them."""
_OF_ARGUMENTS = ("seed", "width", "height")
_DENOISERS = ("transformer", "unet")
_plan: dict[str, int] = {}


def note_plan(**degrees: int) -> None:
    """The pipeline of this process has been spread over the ranks, each way by that many."""
    _plan.update(degrees)


class RunAccount:
    """Of one run, from `begin` to the end of predict."""

    def __init__(self) -> None:
        self._began = self._first = self._last = 0.0
        self._points = 0
        self._reported: dict[str, Any] = {}
        self._on_gpu = self._by_resident_size = False

    def begin(self) -> None:
        """predict is about to be called."""
        self._on_gpu = torch.cuda.is_initialized()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_bytes(b"5")  # the peak begins anew (proc(5))
                self._by_resident_size = True
        self._began = time.perf_counter()

    def stepped(self) -> None:
        """A denoising step has ended."""
        self._last = time.perf_counter()
        self._first = self._first or self._last
        self._points += 1

    def report(self, values: Mapping[str, Any]) -> None:
        """Take over what the predictor says. Raises TypeError for what JSON does not have, ValueError for too much."""
        reported = {**self._reported, **values}
        text = json.dumps(reported, allow_nan=False)
        if len(text) > _MOST:
            raise ValueError(f"report() keeps up to {_MOST} characters of JSON per job, and this makes {len(text)}")
        self._reported = json.loads(text)

    def applied(self, arguments: Mapping[str, Any], steps: int, ranks: int, pipe: Any) -> dict[str, Any]:
        """What the rank knows by itself, and above that what the predictor has reported."""
        known: dict[str, Any] = {name: arguments.get(name) for name in _OF_ARGUMENTS}
        known = {name: value for name, value in known.items() if type(value) in (int, float, str)}
        known |= {"steps": steps} if steps else {}
        known |= {"ranks": ranks} | ({"plan": dict(_plan)} if _plan else {}) | _dtype(pipe)
        return {**known, **self._reported}

    def timings(self) -> dict[str, float]:
        """Seconds before the first step and in all steps. A step is seen at its end only, so the first one is taken to
        be as long as the mean of the others; of a single step nothing is known."""
        if self._points < 2:
            return {}
        step = (self._last - self._first) / (self._points - 1)
        prepare = max(0.0, self._first - step - self._began)
        return {"prepare": round(prepare, 6), "denoise": round(self._last - self._began - prepare, 6)}

    def peak_memory(self) -> int | None:
        """Bytes at the most in this run: of the GPU's memory that torch gave out, without a GPU resident ones of the
        process; None where nobody counts them."""
        if self._on_gpu:
            return int(torch.cuda.max_memory_allocated())
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if self._by_resident_size else None


def _dtype(pipe: Any) -> dict[str, str]:
    model = next((found for name in _DENOISERS if (found := getattr(pipe, name, None)) is not None), pipe)
    with contextlib.suppress(Exception):  # a property of the user's, or of a library's
        if isinstance(dtype := getattr(model, "dtype", None), torch.dtype):
            return {"dtype": str(dtype).removeprefix("torch.")}
    return {}
