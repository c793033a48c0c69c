"""The queued jobs, in the controller's memory: what is to start next is decided without a look at the store.

Fed by what the web workers say of new jobs, by what a look at the store finds of those whose hint was lost, and by
transitions. It may hold a job that the store has no more as queued: the start of such a one is refused by the store.
Decides nothing: the order in which jobs start is the scheduler's.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from itertools import islice

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.pool.transitions import Transition
from para_attn_server.stores.base import JobStore

READ_AT_ONCE = 500
"""Jobs that one look reads; what is more is read by the next ones."""


class JobQueue:
    """Queued jobs by their place. seen: the place up to which the store was read. withheld: ids of jobs that are not to
    start for now."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._jobs: dict[int, Job] = {}
        self._place_of: dict[str, int] = {}
        self._earliest_deadline: float | None = None
        self.seen = 0
        self.withheld: set[str] = set()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._place_of

    def add(self, job: Job) -> None:
        """A job that is queued; one that is here already stays as it is."""
        if job.id in self._place_of:
            return
        self._place_of[job.id] = job.seq
        self._jobs[job.seq] = job
        insort(self._places, job.seq)
        if job.deadline is not None and (self._earliest_deadline is None or job.deadline < self._earliest_deadline):
            self._earliest_deadline = job.deadline

    def found(self, jobs: Iterable[Job]) -> None:
        """What a look at the store has found behind `seen`."""
        for job in jobs:
            self.add(job)
            self.seen = max(self.seen, job.seq)

    def remove(self, job_id: str) -> Job | None:
        """A job that is queued no more, or is about to start."""
        place = self._place_of.pop(job_id, None)
        if place is None:
            return None
        self._places.remove(place)
        return self._jobs.pop(place)

    def waiting(self, steady: float, most: int | None = None) -> list[Job]:
        """The oldest jobs first, up to `most` of them, without those whose deadline has passed by then."""
        return list(islice(self._waiting(steady), most))

    def _waiting(self, steady: float) -> Iterator[Job]:
        for place in self._places:
            job = self._jobs[place]
            if (job.deadline is None or job.deadline > steady) and job.id not in self.withheld:
                yield job

    def any_overdue(self, steady: float) -> bool:
        """Whether a job's deadline has passed by then."""
        if self._earliest_deadline is None or self._earliest_deadline > steady:
            return False
        deadlines = [job.deadline for job in self._jobs.values() if job.deadline is not None]
        self._earliest_deadline = min(deadlines, default=None)
        return self._earliest_deadline is not None and self._earliest_deadline <= steady

    def forget_overdue(self, steady: float) -> None:
        """The store has no queued job whose deadline has passed by then."""
        for job in [job for job in self._jobs.values() if job.deadline is not None and job.deadline <= steady]:
            self.remove(job.id)

    def observe(self, transition: Transition) -> None:
        """Keep in step with what is on record."""
        if transition.job.status is JobStatus.QUEUED:
            self.add(transition.job)
        else:
            self.remove(transition.job.id)


def read_queued(store: JobStore, seen: int) -> list[Job]:
    """The jobs behind that place that are queued, those too whose deadline has passed."""
    return store.queued(READ_AT_ONCE, after=seen)
