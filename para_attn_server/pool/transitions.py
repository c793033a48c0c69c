"""The one writer of jobs' transitions, and who hears of them.

Changes that belong together are made in one transaction of the store, each a guarded update with its event. Once that
is committed, every observer gets every transition, in order. What should happen at a transition is an observer: one
line in `pool/pool.py`. This module decides nothing about a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import structlog

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()

Change = Callable[[JobStore], Iterable[Job]]
"""Makes guarded updates of a store; the jobs as they are after them."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A job has changed its status, and that is on record. job: as it is now."""

    job: Job

    @property
    def started(self) -> bool:
        """Whether a group runs it now."""
        return self.job.status is JobStatus.RUNNING

    @property
    def ended(self) -> bool:
        """Whether it has succeeded, failed or been canceled."""
        return self.job.status.terminal


Observer = Callable[[Transition], None]


class Transitions:
    """Applies changes. observers: called after each commit, in this order; one that raises does not stop the others."""

    def __init__(self, store: JobStore, observers: Sequence[Observer]) -> None:
        self._store, self._observers = store, observers

    def apply(self, *changes: Change) -> None:
        """Make these changes together, then report each transition. Raises what the store raises: then none is made."""
        # A single update is a transaction already, and one that finds nothing to do needs none.
        with self._store.transaction() if len(changes) > 1 else nullcontext():
            jobs = [job for change in changes for job in change(self._store)]
        for transition in map(Transition, jobs):
            for observer in self._observers:
                self._report(observer, transition)

    def _report(self, observer: Observer, transition: Transition) -> None:
        try:
            observer(transition)
        except Exception:
            log.exception("an observer of transitions failed", job=transition.job.id)
