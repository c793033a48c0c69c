"""Starts queued jobs on free groups: the start is on record before the group's ranks hear of the job.

What has happened to the group meanwhile (it died, the server stops) or to the job (it was canceled) undoes the start,
and no attempt is charged. Which job goes where is the plan's to say (planner.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from para_attn_server.core.errors import IllegalTransition, JobNotFound
from para_attn_server.core.job import Job
from para_attn_server.pool.group import Group
from para_attn_server.pool.job_queue import JobQueue
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.planner import Planner
from para_attn_server.pool.transitions import Change, Transition, Transitions
from para_attn_server.pool.write_queue import Work, WriteQueue
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()


@dataclass(slots=True)
class Start:
    """A job that is about to run on a group of that controller.

    arguments: filled in by the store's thread. canceled: not to run.
    """

    job: Job
    group: int
    controller: str
    arguments: dict[str, Any] = field(default_factory=dict)
    canceled: bool = False

    def make(self, now: float, store: JobStore) -> list[Job]:
        """The change of the store; nothing where the job is queued there no more: its hint came late."""
        try:
            self.arguments = store.arguments(self.job.id)
            return [store.start(self.job.id, self.group, now, self.controller)]
        except (IllegalTransition, JobNotFound):
            return []


class Dispatcher:
    """controller: by whom jobs are started. groups: the pool's, once it has them.

    request_id: the name of the request that a job came by.

    held: nothing is to be started for now. stopping: nothing any more. suspects: jobs that were lost while they were
    written and another ran; no other runs then the next time, so that it is known which of them took the group down.
    """

    def __init__(
        self,
        controller: str,
        queue: JobQueue,
        planner: Planner,
        writes: WriteQueue,
        transitions: Transitions,
        request_id: Callable[[str], str | None],
    ) -> None:
        self._queue, self._planner, self._writes, self._transitions = queue, planner, writes, transitions
        self._controller, self._request_id = controller, request_id
        self._starting: dict[str, Start] = {}
        self._asked = False  # an attempt to start jobs waits for its turn, or is under way
        self._chosen: list[Start] = []  # by that attempt
        self.groups: Sequence[Group] = ()
        self.held = self.stopping = False
        self.suspects: set[str] = set()

    def dispatch(self) -> None:
        """Give queued jobs to free groups. Where the store refuses, a later call tries again."""
        if not self._asked and self._free():
            self._asked = True
            self._writes.attempt(self._prepare, self._undone)

    def starting(self, job_id: str) -> Start | None:
        """The start of that job, while it is not on record."""
        return self._starting.get(job_id)

    @property
    def busy(self) -> bool:
        """Whether a job is about to start."""
        return bool(self._starting)

    def choose(self) -> list[Start]:
        """The starts that are due now. They are to be made, or given up."""
        free = self._free()
        starts = [Start(job, group, self._controller) for job, group in self._planner.due(free)]
        for start in starts:
            self._queue.remove(start.job.id)
            self._starting[start.job.id] = start
        return starts

    def changes(self, starts: Sequence[Start]) -> list[Change]:
        """What makes them."""
        return [partial(start.make, time.time()) for start in starts]

    def settle(self, starts: Sequence[Start]) -> None:
        """They have been made, and reported; those that have not been are of jobs that are queued no more."""
        for start in starts:
            self._starting.pop(start.job.id, None)

    def give_up(self, starts: Sequence[Start]) -> None:
        """They have not been made: the jobs are queued still."""
        for start in starts:
            self._starting.pop(start.job.id, None)
            if start.canceled:
                self._writes.write(lambda start=start: self._withdraw(start.job))  # type: ignore[misc]
            else:
                self._queue.add(start.job)

    def observe(self, transition: Transition) -> None:
        """A start is on record: have the group run the job, or undo the start."""
        job = transition.job
        if transition.ended:
            self.suspects.discard(job.id)
        start = self._starting.pop(job.id, None) if transition.started else None
        if start is None:
            return
        group = self.groups[start.group]
        if start.canceled:
            self._writes.write(lambda: self._withdraw(job))
        elif group.state is not GroupState.READY or self.stopping:
            cause = "the server stops" if self.stopping else "its worker group was lost before it began"
            log.info("a start is undone", job=job.id, group=start.group, cause=cause)
            self._writes.write(lambda: self._transitions.work(partial(_put_back, job, cause)))
        else:
            group.assign(job, start.arguments, self._request_id(job.id), job.id in self.suspects)

    def _free(self) -> list[int]:
        """The groups that could take a job now, if there is one."""
        if self.held or self.stopping or not self._queue:
            return []
        reserved = {start.group for start in self._starting.values()}
        return [group.index for group in self.groups if group.state is GroupState.READY and group.index not in reserved]

    def _prepare(self) -> Work | None:
        self._chosen = starts = self.choose()
        if not starts:
            self._asked = False
            return None
        make = self._transitions.work(*self.changes(starts))

        def work(store: JobStore) -> Callable[[], None]:
            return partial(self._made, make(store))

        return work

    def _made(self, report: Callable[[], None]) -> None:
        report()
        self.settle(self._chosen)
        self._asked, self._chosen = False, []
        self.dispatch()

    def _undone(self, _: Exception) -> None:
        self.give_up(self._chosen)
        self._asked, self._chosen = False, []

    def _withdraw(self, job: Job) -> Work:
        return self._transitions.work(lambda store: [store.cancel(job.id, time.time(), run=job.run_id)])


def _put_back(job: Job, cause: str, store: JobStore) -> list[Job]:
    return [store.requeue(job.id, cause, charge=False, now=time.time(), run=job.run_id)]
