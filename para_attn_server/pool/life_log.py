"""A job's life as lines in the server's log, each with the same few keys. Decides and writes nothing else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from para_attn_server.core.job import Job
from para_attn_server.core.logs import job_keys
from para_attn_server.pool.transitions import Transition

log = structlog.get_logger()
KEPT = 10_000
"""Jobs whose request's id is remembered; the oldest are forgotten first."""


class LifeLog:
    """Says of jobs when they start and end. A web worker has said before that they were accepted.

    soon: calls a function a little later, once what is under way is done.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self._soon = soon
        self._requests: OrderedDict[str, str] = OrderedDict()

    def submitted(self, job_id: str, request_id: str | None) -> None:
        """Remember by which request a job came."""
        if request_id is not None:
            self._requests[job_id] = request_id
            if len(self._requests) > KEPT:
                self._requests.popitem(last=False)

    def started(self, job: Job) -> None:
        """A group takes it."""
        log.info("job started", **self.names(job.id), group=job.group, attempt=job.attempts)

    def observe(self, transition: Transition) -> None:
        """A line about a start or an end."""
        if transition.started:
            self._soon(partial(self.started, transition.job))
        elif transition.ended:
            self._soon(partial(self.ended, transition.job))

    def lost(self, job_id: str, cause: str) -> None:
        """Its run came to nothing, through no error of its own."""
        log.warning("a run is lost", **self.names(job_id), cause=cause)

    def ended(self, job: Job) -> None:
        """It has come to its end."""
        keys: dict[str, Any] = {"status": job.status.value, "group": job.group, "attempt": job.attempts}
        if job.error is not None:
            keys["error"] = job.error.type
        seconds = job.run_seconds if job.started_at is not None else None
        log.info("job ended", **self.names(job.id), **keys, duration_s=None if seconds is None else round(seconds, 3))
        self._requests.pop(job.id, None)

    def request_id(self, job_id: str) -> str | None:
        """The name of the request that a job came by, if it is remembered."""
        return self._requests.get(job_id)

    def names(self, job_id: str) -> dict[str, str]:
        """What a log line about a job says of it."""
        return job_keys(job_id, self.request_id(job_id))
