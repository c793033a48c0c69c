"""Which queued job goes to which free group: a pure function, so that every policy can be tested by a table."""

from __future__ import annotations

from collections.abc import Sequence

from para_attn_server.core.job import Job


def assign(queued: Sequence[Job], free_groups: Sequence[int]) -> list[tuple[Job, int]]:
    """First come, first served: the oldest queued jobs (smallest seq) to the free groups, lowest index first."""
    return list(zip(sorted(queued, key=lambda job: job.seq), sorted(free_groups), strict=False))
