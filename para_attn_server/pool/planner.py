"""Gives the plan what it needs to know, and the web workers what it says.

It keeps what has been learned of costs, what each owner has had of the groups, and the pace of what runs. The order is
`scheduler.py`'s.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import QueueView, ToWeb
from para_attn_server.pool.cost import CostModel
from para_attn_server.pool.group import Group
from para_attn_server.pool.job_queue import JobQueue
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.model_info import ModelInfoWriter
from para_attn_server.pool.running_jobs import RunningJobs
from para_attn_server.pool.scheduler import PlanGroup, Start, forecast, plan
from para_attn_server.pool.shares import Shares
from para_attn_server.pool.transitions import Transition
from para_attn_server.pool.write_queue import Work

COSTS_DOCUMENT = "costs"
"""Name of the store's document in which the costs are kept."""
PUBLISH_EVERY = 0.5
"""Seconds between two publications of the order."""
SAVE_EVERY = 5.0
"""Seconds between two writes of what was learned."""
PUBLISHED = 1000
"""Queued jobs of which position and end are published."""
DRIFT = 0.1
"""Part of the time until then by which an end must have moved to be published anew, if the order has not changed."""

_WORKS = frozenset({GroupState.READY, GroupState.BUSY, GroupState.STARTING, GroupState.RECOVERING})


class Planner:
    """running: the pool's, in which a job is still found when its end is observed here. groups: as they are now.

    models: which model a job is for, and which ones the server has.
    """

    def __init__(
        self,
        queue: JobQueue,
        running: RunningJobs,
        groups: Callable[[], Sequence[Group]],
        models: ModelInfoWriter,
        publish: Callable[[ToWeb], None],
    ) -> None:
        self._queue, self._running, self._groups = queue, running, groups
        self._models, self._publish = models, publish
        self._costs, self._shares = CostModel(), Shares()
        self._ends: dict[str, float] = {}  # of running jobs, by their own pace
        self._left: dict[str, float] = {}  # when their ranks were free, of those whose output is still written
        self._published, self._viewed_at = QueueView(), 0.0
        self._learned, self._saved_at = False, -SAVE_EVERY

    def restore(self, document: Mapping[str, Any] | None) -> None:
        """Go on with what an earlier controller has learned."""
        self._costs = CostModel(document)

    def due(self, free: Sequence[int]) -> list[tuple[Job, int]]:
        """The jobs that are to start now on these groups."""
        if not free or not self._queue:
            return []
        now, jobs = steady(), self._jobs()
        decisions = plan(now, jobs, self._plan_groups(free, now), self._cost, self._used(jobs), self._models.name_of)
        return [(each.job, each.group) for each in decisions if isinstance(each, Start)]

    def stepped(self, job_id: str, step: int, total: int | None) -> None:
        """A running job has done a step."""
        job = self._running.get(job_id)
        if job is not None and job.started_steady is not None and step and total:
            now = steady()
            self._ends[job_id] = now + (now - job.started_steady) / step * max(0, total - step)

    def left(self, job_id: str) -> None:
        """Its group is free; what is still written of the job is no time of a group."""
        self._ends.pop(job_id, None)
        self._left[job_id] = steady()

    def observe(self, transition: Transition) -> None:
        """Learn from what has run."""
        job = transition.job
        if transition.started:
            return
        before = self._running.get(job.id)
        self._ends.pop(job.id, None)
        left = self._left.pop(job.id, None)
        if before is None or before.started_steady is None:
            return
        seconds = max(0.0, (left or steady()) - before.started_steady)
        self._shares.add(before.owner, seconds)
        if job.status is JobStatus.SUCCEEDED and job.run_seconds is not None:
            seconds = job.run_seconds if left is None else seconds
            self._costs.learn(self._models.name_of(job), job.shape, self._ranks_of(before), seconds)
            self._learned = True

    def tick(self, now: float) -> None:
        """Publish the order if it has changed. now: monotonic seconds."""
        if now - self._viewed_at < PUBLISH_EVERY:
            return
        if not (self._queue or self._running or self._published.waiting or self._published.at_work):
            return
        view, self._viewed_at = self.view(), now
        if _differs(view, self._published):
            self._published = view
            self._publish(view)

    def unsaved(self, now: float) -> bool:
        """Whether it is time to write what has been learned. now: monotonic seconds."""
        return self._learned and now - self._saved_at >= SAVE_EVERY

    def save(self) -> Work:
        """Writes what has been learned by now."""
        self._learned, self._saved_at = False, time.monotonic()
        document = self._costs.document()
        return lambda store: store.put_document(COSTS_DOCUMENT, document)

    def not_saved(self, _: Exception) -> None:
        """That came to nothing: it is tried again later."""
        self._learned = True

    def view(self) -> QueueView:
        """The order as users see it."""
        now, jobs = steady(), self._jobs()
        ready = [group.index for group in self._groups() if group.state is GroupState.READY]
        groups, used, model_of = self._plan_groups(ready, now), self._used(jobs), self._models.name_of
        startable = [job for job in jobs if self._models.serves(model_of(job))]
        found = forecast(now, startable, groups, self._cost, used, PUBLISHED, model_of)[:PUBLISHED]
        running = {job.id: self._cost(job, self._ranks_of(job)) for job in self._running.values()}
        waiting = Counter(model_of(job) for job in jobs if job.status is JobStatus.QUEUED)
        return QueueView(
            [each.job.id for each in found],
            [each.ends for each in found],
            {job_id: seconds for job_id, seconds in running.items() if seconds is not None},
            found[0].starts if found else None,
            self._costs.shapes,
            self._costs.error,
            [each.place for each in found],
            dict(waiting),
            dict(Counter(model_of(job) for job in self._running.values())),
        )

    def _jobs(self) -> list[Job]:
        at_work = [job for job in self._running.values() if job.id not in self._left]
        return [*at_work, *self._queue.waiting(steady())]

    def _plan_groups(self, ready: Sequence[int], now: float) -> list[PlanGroup]:
        ends = {job.group: self._ends[job.id] for job in self._running.values() if job.id in self._ends}
        return [
            PlanGroup(
                group.index,
                group.num_ranks,
                group.index in ready,
                max(0.0, ends[group.index] - now) if group.index in ends else None,
                group.model,
            )
            for group in self._groups()
            if group.state in _WORKS
        ]

    def _cost(self, job: Job, ranks: int) -> float | None:
        estimate = self._costs.estimate(self._models.name_of(job), job.shape, ranks)
        return None if estimate is None else estimate.seconds

    def _used(self, jobs: Sequence[Job]) -> Mapping[str, float]:
        return self._shares.among({job.owner for job in jobs})

    def _ranks_of(self, job: Job) -> int:
        return next((group.num_ranks for group in self._groups() if group.index == job.group), 1)


def _differs(new: QueueView, old: QueueView) -> bool:
    """Whether clients should know: ends drift by a little all the time."""
    if replace(new, ends=old.ends, next_start=old.next_start) != replace(old):
        return True
    now = steady()
    moments = zip([*new.ends, new.next_start], [*old.ends, old.next_start], strict=True)
    return any(_moved(one, other, now) for one, other in moments)


def _moved(one: float | None, other: float | None, now: float) -> bool:
    if one is None or other is None:
        return one is not other
    return abs(one - other) > DRIFT * max(1.0, one - now)
