"""The one writer of jobs' transitions, and who hears of them.

Changes that belong together are made in one transaction of the store, each a guarded update with its event. What else
must be on record with a transition is written in the same transaction, by a durable observer: where that raises, none
of it is made. Once it is committed, every live observer gets every transition, in order. An effect of transitions is
one line in `pool/pool.py`. This module decides nothing about a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

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
DurableObserver = Callable[[JobStore, Transition], object]


class Transitions:
    """Makes changes, and reports them.

    observers: called on the loop after each commit, in this order; one that raises does not stop the others.
    durable: called in the store's thread within the transaction, after its changes; what one raises undoes all of them.
    """

    def __init__(self, observers: Sequence[Observer], durable: Sequence[DurableObserver] = ()) -> None:
        self._observers, self._durable = observers, durable

    def work(self, *changes: Change) -> Callable[[JobStore], Callable[[], None]]:
        """These changes together, as a piece of work for the store's thread; what it returns reports them."""
        return lambda store: partial(self.report, self.make(store, *changes))

    def make(self, store: JobStore, *changes: Change) -> list[Transition]:
        """In the store's thread: make these changes. Raises what the store raises: then none is made."""
        with store.transaction():
            transitions = [Transition(job) for change in changes for job in change(store)]
            for transition in transitions:
                for observer in self._durable:
                    observer(store, transition)
        return transitions

    def report(self, transitions: Iterable[Transition]) -> None:
        """On the loop: what was made."""
        for transition in transitions:
            for observer in self._observers:
                self._report(observer, transition)

    def _report(self, observer: Observer, transition: Transition) -> None:
        try:
            observer(transition)
        except Exception:
            log.exception("an observer of transitions failed", job=transition.job.id)
