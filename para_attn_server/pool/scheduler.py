"""The order of the queue: which job goes to which free group, and when each queued job will have ended.

Pure functions of the jobs, the groups and what is known of costs, so every policy can be tested by a table. The order
is here and nowhere else. Nothing in here knows of the store, of ranks or of clients; all times are steady seconds.

A job starts on a group of its own model only, and each model's jobs have an order of their own: none waits for a job of
another model. Priority classes come first. Within a class:

1. Owners that are ahead of the others by more than one job of theirs wait for them (fair share).
2. Late last: a job that cannot meet its target any more yields to those that can. It gets a second target, OVERDUE
   times its own time later. Once that has passed too it is treated as in time again, so it goes first: one such job at
   a time, and none while a group runs a late one.
3. The earliest target first; among late jobs, the earliest second target.
4. Equal jobs (same owner, class and shape, and no target of their own) form a line: first come, first served. A
   requeued job keeps its place. A job whose elder is late counts as late.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.pool.run import EXPIRED

DEFAULT_TARGET = 1.6
"""The target of a job that names none: so many times its time alone after it was created."""
OVERDUE = 4.0
"""A late job's second target: so many times its time alone after the first."""


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """A worker group that works or will. ready: it could start a job now. left: seconds that its job still takes by its
    own pace, None while that is unknown. model: the one that it has."""

    index: int
    ranks: int
    ready: bool
    left: float | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Give a queued job to a group."""

    job: Job
    group: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End a queued job; it fails with this reason. A running one is left by its group when its deadline has passed."""

    job: Job
    reason: JobError


Decision = Start | Stop

Cost = Callable[[Job, int], float | None]
"""Seconds that a job takes on so many ranks, the same for all of its shape; None while nothing is known."""


ModelOf = Callable[[Job], str | None]
"""The model of a job, as groups name it."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a queued job will start and end, as things are; None where that is unknown. place: how many start before it,
    of its model."""

    job: Job
    starts: float | None
    ends: float | None
    place: int = 0


def plan(
    now: float,
    jobs: Sequence[Job],
    groups: Sequence[PlanGroup],
    cost: Cost,
    used: Mapping[str, float] | None = None,
    model_of: ModelOf = attrgetter("model"),
) -> list[Decision]:
    """What is to be done now. used: seconds of groups that each owner has had (pool/shares.py)."""
    decisions: list[Decision] = [Stop(job, EXPIRED) for job in jobs if _is_queued(job) and _expired(job, now)]
    for of_model, its_groups in _by_model(jobs, groups, model_of):
        ready = sorted(group.index for group in its_groups if group.ready)
        if ready:
            first = islice(_Order(now, of_model, its_groups, cost, used or {}), len(ready))
            decisions += [Start(job, group) for job, group in zip(first, ready, strict=False)]
    return decisions


def forecast(
    now: float,
    jobs: Sequence[Job],
    groups: Sequence[PlanGroup],
    cost: Cost,
    used: Mapping[str, float] | None = None,
    most: int | None = None,
    model_of: ModelOf = attrgetter("model"),
) -> list[Forecast]:
    """The queued jobs, up to `most` of each model, in the order in which they will start."""
    found = [
        each
        for of_model, its_groups in _by_model(jobs, groups, model_of)
        for each in _forecast(_Order(now, of_model, its_groups, cost, used or {}), most)
    ]
    return sorted(found, key=lambda each: math.inf if each.starts is None else each.starts)


def _forecast(order: _Order, most: int | None) -> Iterator[Forecast]:
    free = order.free_at()
    heapq.heapify(free)
    for place, job in enumerate(islice(order, most)):
        starts, seconds = free[0] if free else None, order.seconds(job)
        ends = None if starts is None or seconds is None else starts + seconds
        if ends is not None:
            heapq.heapreplace(free, ends)
        yield Forecast(job, starts, ends, place)


def _by_model(
    jobs: Sequence[Job], groups: Sequence[PlanGroup], model_of: ModelOf
) -> Iterator[tuple[list[Job], list[PlanGroup]]]:
    """The jobs and groups of each model that has jobs."""
    of_model: dict[str | None, list[Job]] = {}
    for job in jobs:
        of_model.setdefault(model_of(job), []).append(job)
    for model, its_jobs in of_model.items():
        yield its_jobs, [group for group in groups if group.model == model]


def _is_queued(job: Job) -> bool:
    return job.status is JobStatus.QUEUED


def _expired(job: Job, now: float) -> bool:
    return job.deadline is not None and job.deadline <= now


Line = list[Job]
"""Equal jobs that wait, the next one last."""


@dataclass(order=True, slots=True)
class _Head:
    """The next job of a line. late: 1, or 0 where it can meet its target; goes_by: that target, or the second one."""

    late: int
    goes_by: float
    seq: int
    job: Job
    line: Line


class _Order:
    """The queued jobs, in order; only as much of it is worked out as is asked for."""

    def __init__(
        self,
        now: float,
        jobs: Sequence[Job],
        groups: Sequence[PlanGroup],
        cost: Cost,
        used: Mapping[str, float],
    ) -> None:
        self._now, self._groups, self._cost = now, groups, cost
        self._ranks = max((group.ranks for group in groups), default=1)
        self._known: dict[str, float | None] = {}
        self._running = [job for job in jobs if job.status is JobStatus.RUNNING]
        self._lines = _lines([job for job in jobs if _is_queued(job) and not _expired(job, now)])
        self._used = dict(used)
        for job in self._running:
            self._charge(job)

    def __iter__(self) -> Iterator[Job]:
        by_class: dict[int, list[Line]] = {}
        for line in self._lines:
            by_class.setdefault(line[0].priority, []).append(line)
        for priority in sorted(by_class, reverse=True):
            yield from self._class(by_class[priority])

    def _class(self, lines: list[Line]) -> Iterator[Job]:
        heads: dict[str, list[_Head]] = {}
        for head in self._with_overdue([self._head(line) for line in lines]):
            heads.setdefault(head.job.owner, []).append(head)
        for of_owner in heads.values():
            heapq.heapify(of_owner)
        while heads:
            owner = self._next_owner(heads)
            head = heads[owner][0]
            if head.line:
                heapq.heapreplace(heads[owner], self._head(head.line, head.late))
            else:
                heapq.heappop(heads[owner])
                if not heads[owner]:
                    del heads[owner]
            self._charge(head.job)
            yield head.job

    def _head(self, line: Line, elder_is_late: int = 0) -> _Head:
        job = line.pop()
        late = elder_is_late or int(self._is_late(job))
        grace = late * OVERDUE * (self.seconds(job) or 0.0)
        return _Head(late, self._target(job) + grace, job.seq, job, line)

    def _with_overdue(self, heads: list[_Head]) -> list[_Head]:
        """The most overdue job goes as if it were in time; its line stays late."""
        overdue = [head for head in heads if head.late and head.goes_by < self._now]
        if overdue and not any(self._is_late(job) for job in self._running):
            first = min(overdue)
            heads = [head for head in heads if head is not first]
            heads.append(_Head(0, self._target(first.job), first.seq, first.job, []))
            if first.line:
                heads.append(self._head(first.line, elder_is_late=1))
        return heads

    def _next_owner(self, heads: Mapping[str, list[_Head]]) -> str:
        if len(heads) == 1:
            return next(iter(heads))
        least = min(self._used.get(owner, 0.0) for owner in heads)

        def place(owner: str) -> tuple[bool, _Head]:
            head = heads[owner][0]
            ahead = self._used.get(owner, 0.0) - least
            return ahead > (self.seconds(head.job) or 0.0), head

        return min(heads, key=place)

    def free_at(self) -> list[float]:
        """When each group is free for a further job. One that is being repaired: after half a job's time."""
        ends = {job.group: self._now + self._left(job) for job in self._running}
        repaired = self._now + (next((self.seconds(line[0]) for line in self._lines), None) or 0.0) / 2
        return [ends.get(group.index, self._now if group.ready else repaired) for group in self._groups]

    def seconds(self, job: Job) -> float | None:
        """The job's time alone."""
        if job.shape not in self._known:
            self._known[job.shape] = self._cost(job, self._ranks)
        return self._known[job.shape]

    def _target(self, job: Job) -> float:
        return job.created_steady + DEFAULT_TARGET * (self.seconds(job) or 0.0) if job.target is None else job.target

    def _left(self, job: Job) -> float:
        seconds = self.seconds(job) or 0.0
        if _is_queued(job) or job.started_steady is None:
            return seconds
        by_its_pace = next((group.left for group in self._groups if group.index == job.group), None)
        return max(0.0, job.started_steady + seconds - self._now) if by_its_pace is None else by_its_pace

    def _is_late(self, job: Job) -> bool:
        """Whether its target cannot be met any more; a job of unknown time has no default target to miss."""
        if job.target is None and self.seconds(job) is None:
            return False
        return self._now + self._left(job) > self._target(job)

    def _charge(self, job: Job) -> None:
        self._used[job.owner] = self._used.get(job.owner, 0.0) + (self.seconds(job) or 0.0)


def _lines(queued: list[Job]) -> list[Line]:
    """Jobs with a target of their own are not equal to any other."""
    lines: dict[tuple[str, int, str, int], Line] = {}
    for job in sorted(queued, key=lambda job: job.seq, reverse=True):
        key = (job.owner, job.priority, job.shape, -1 if job.target is None else job.seq)
        lines.setdefault(key, []).append(job)
    return list(lines.values())
