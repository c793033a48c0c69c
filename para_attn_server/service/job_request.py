"""What a client asks for, whatever the dialect. Data only; no Flask in here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from para_attn_server.core.job import NATIVE, Priority
from para_attn_server.core.steady import steady


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a client wants of a job's time. deadline: Unix seconds after which it is not worth running; target: by
    which it should be done, and is still worth running afterwards."""

    deadline: float | None = None
    target: float | None = None
    priority: Priority = Priority.NORMAL

    def by_the_steady_clock(self) -> dict[str, Any]:
        """The fields of a NewJob."""
        ahead = steady() - time.time()
        moments = {"deadline": self.deadline, "target": self.target}
        known = {name: moment + ahead for name, moment in moments.items() if moment is not None}
        return {"priority": self.priority, **known}


NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A request for a job.

    body: the model's arguments, not checked yet. key: the client's Idempotency-Key. metadata: the client's own notes,
    a small JSON object. request_id: the request's name, for the log. api: the dialect. model: its short name, None for
    the default one.
    """

    body: Mapping[str, Any]
    key: str | None = None
    wishes: Wishes = NO_WISHES
    metadata: dict[str, Any] | None = None
    request_id: str | None = None
    api: str = NATIVE
    model: str | None = None
