"""How long a job will still take, from what is known; pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from para_attn_server.core.job import Job
from para_attn_server.core.wire.control import PoolView

_USABLE = frozenset({"ready", "busy", "starting", "recovering"})


def running_seconds_left(job: Job, mean: float | None, now: float) -> float | None:
    """Seconds until a running job ends: its own pace once it has done a step, else the mean. None when unknown.

    now: by the steady clock.
    """
    if job.started_steady is None:
        return None
    elapsed = max(0.0, now - job.started_steady)
    if job.step and job.total_steps:
        return elapsed / job.step * max(0, job.total_steps - job.step)
    return None if mean is None else max(0.0, mean - elapsed)


def queued_seconds_left(
    position: int, pool: PoolView | None, mean: float | None, running: Mapping[str, float | None]
) -> float | None:
    """Seconds until a queued job ends, its own run included; None when unknown.

    The jobs before it are taken by the usable groups in rounds of one mean each. running: by running job, seconds left;
    what is unknown, that of a group under repair too, is taken for half a mean.
    """
    groups = [group for group in pool.groups if group.state in _USABLE] if pool is not None else []
    if mean is None or not groups:
        return None
    left = (0.0 if group.state == "ready" else running.get(group.job_id or "") for group in groups)
    waits = sorted(mean / 2 if seconds is None else seconds for seconds in left)
    rounds, group = divmod(position, len(groups))
    return waits[group] + mean * (rounds + 1)
