"""How long a job will still take, from what is known; pure functions, no I/O."""

from __future__ import annotations

import math

from para_attn_server.core.job import Job

LONGEST_RETRY = 60
"""Most seconds that a client is asked to wait: a place in the queue becomes free by a cancel too."""


def running_seconds_left(job: Job, expected: float | None, now: float) -> float | None:
    """Seconds until a running job ends: by its own pace once it has done a step, else as expected. None when unknown.

    expected: seconds that it takes in all. now: by the steady clock.
    """
    if job.started_steady is None:
        return None
    elapsed = max(0.0, now - job.started_steady)
    if job.step and job.total_steps:
        return elapsed / job.step * max(0, job.total_steps - job.step)
    return None if expected is None else max(0.0, expected - elapsed)


def retry_after(next_start: float | None, now: float) -> int | None:
    """Whole seconds until a job leaves the queue to start, at least 1; None when unknown. Both by the steady clock."""
    return None if next_start is None else min(LONGEST_RETRY, max(1, math.ceil(next_start - now)))
