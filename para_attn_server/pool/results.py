"""What the ranks of a finished run report together: one result, or that they have not done the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import PHASES, Result
from para_attn_server.core.wire.ranks import Finished, Written

_NOTHING = object()
_SHOWN = 60
"""Characters of a value in an error's message."""


def result_of(finished: Sequence[Finished], written: Written | None = None) -> Result:
    """What became of the run: rank zero's, which comes first; the memory of the rank that needed most.

    written: its outputs, where they were not there when it had finished.
    """
    first = finished[0]
    timings = {phase: first.timings.get(phase) for phase in PHASES}
    peaks = [message.peak_memory for message in finished if message.peak_memory is not None]
    outputs = first.outputs
    if written is not None:
        outputs, timings["write"] = written.outputs, round(written.seconds, 6)
    return Result(outputs, first.applied or None, timings, max(peaks, default=None))


def mismatch_of(finished: Sequence[Finished]) -> JobError | None:
    """Why the output is not to be trusted: the ranks have applied different values; None where they agree."""
    for other in finished[1:]:
        names = sorted(finished[0].applied.keys() | other.applied.keys())
        for name in names:
            ours, theirs = (message.applied.get(name, _NOTHING) for message in (finished[0], other))
            if ours != theirs:
                first, rank = finished[0].rank, other.rank
                message = f"rank {rank} used {_said(name, theirs)}, and rank {first} {_said(name, ours)}"
                hint = "predict() must do the same on every rank"
                return JobError("applied_mismatch", message, rank, hint=hint)
    return None


def _said(name: str, value: Any) -> str:
    if value is _NOTHING:
        return f"no {name}"
    text = json.dumps(value)
    return f"{name} {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"
