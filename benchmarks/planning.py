"""The CPU time of plan(), beside a reference in the same run: `python benchmarks/planning.py`.

The reference sorts as many tuples of the same length: what any order of the queue costs at least, on this machine now.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from para_attn_server.core.job import Job, JobStatus, Priority
from para_attn_server.pool.scheduler import PlanGroup, forecast, plan

_REPEATS = 20
_SHAPES = {f"shape {n}": 2.0 * (n + 1) for n in range(8)}
_GROUPS = [PlanGroup(index, 8, index == 0) for index in range(4)]


def _jobs(count: int, own_targets: bool) -> list[Job]:
    draw = random.Random(7)
    running = [
        Job(f"r{n}", n, JobStatus.RUNNING, None, "/o", 0.0, shape="shape 0", group=n, started_steady=1.0)
        for n in range(1, 4)
    ]
    return running + [
        Job(
            id=f"{n:032x}",
            seq=n,
            status=JobStatus.QUEUED,
            seed=None,
            output_path="/o",
            created_at=0.0,
            priority=draw.choice(list(Priority)),
            owner=draw.choice("abcd"),
            shape=draw.choice(list(_SHAPES)),
            created_steady=draw.uniform(0, 100),
            target=draw.uniform(50, 300) if own_targets else None,
        )
        for n in range(4, count + 4)
    ]


def _milliseconds(work: Callable[[], object]) -> float:
    """The best of some repeats, in CPU time."""
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return 1000 * best


def _cost(job: Job, ranks: int) -> float | None:
    return _SHAPES[job.shape]


def main() -> None:
    """Print a table."""
    print("jobs  targets  plan ms  order of all ms  sort ms  plan / sort")
    for count in (10, 100, 1000):
        for own_targets in (False, True):
            jobs = _jobs(count, own_targets)
            rows = [(job.priority, job.created_steady, job.target or 0.0, job.seq) for job in jobs]
            planned = _milliseconds(lambda jobs=jobs: plan(100.0, jobs, _GROUPS, _cost))  # type: ignore[misc]
            whole = _milliseconds(lambda jobs=jobs: forecast(100.0, jobs, _GROUPS, _cost))  # type: ignore[misc]
            reference = _milliseconds(lambda rows=rows: sorted(rows))  # type: ignore[misc]
            kind = "own" if own_targets else "default"
            print(f"{count:4}  {kind:7}  {planned:7.3f}  {whole:15.3f}  {reference:7.3f}  {planned / reference:11.1f}")


if __name__ == "__main__":
    main()
