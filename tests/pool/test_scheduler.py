"""Which job goes where, as a table."""

from __future__ import annotations

import pytest

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.pool.scheduler import assign


@pytest.mark.parametrize(
    ("queued", "free", "expected"),
    [
        ([], [0, 1], []),
        ([1, 2], [], []),
        ([1, 2, 3], [0], [(1, 0)]),
        ([3, 1, 2], [1, 0], [(1, 0), (2, 1)]),
        ([5], [2, 3], [(5, 2)]),
    ],
)
def test_the_oldest_jobs_go_to_the_first_free_groups(
    queued: list[int], free: list[int], expected: list[tuple[int, int]]
) -> None:
    jobs = [Job(str(seq), seq, JobStatus.QUEUED, None, "/o", 0.0) for seq in queued]
    assert [(job.seq, group) for job, group in assign(jobs, free)] == expected
