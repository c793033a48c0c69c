"""The live events of the jobs that run, kept for a moment: the last ones of each, in rings (core/live_ring.py).

They are never rows of the store, and end with their run. Whoever hears of them here hands them on to those who listen
(controller/control_server.py); nothing is handed on to nobody. All calls are on the controller's loop.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from para_attn_server.core.emitted import LARGEST_BINARY, LARGEST_JSON
from para_attn_server.core.live_ring import Entry, Ring, Rings
from para_attn_server.core.wire.control import LiveEvent, LiveMark, RowsWritten, encode
from para_attn_server.core.wire.ranks import Emit
from para_attn_server.pool.transitions import Transition

Heard = Callable[[str, "LiveMark | RowsWritten | None"], None]
"""Called with a job's id and what is to be said of it; None: its ring has a new event."""
_NONE = Ring[bytes](0)


@dataclass(slots=True)
class _Parts:
    """The pieces of an event that has not come whole."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    dropped: int = 0


class LiveEvents:
    """clock: Unix seconds. heard: see above; nobody at first."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rings: Rings[bytes] = Rings()
        self._parts: dict[str, _Parts] = {}
        self.heard: Heard = lambda *_: None

    def ring(self, job_id: str) -> Ring[bytes]:
        """The lines of the control channel that the job's last events are; an empty ring of run 0 where there is no
        run."""
        ring = self._rings.get(job_id)
        return _NONE if ring is None else ring

    def mark(self, job_id: str) -> LiveMark:
        """Where the job's events stand."""
        ring = self.ring(job_id)
        return LiveMark(job_id, ring.run, ring.last)

    def emitted(self, job_id: str, piece: Emit) -> None:
        """A piece of an event has come from rank zero."""
        ring = self._rings.get(job_id)
        if ring is None:
            return
        parts = self._parts.setdefault(job_id, _Parts())
        parts.dropped += piece.dropped
        parts.size += len(piece.data)
        if parts.size <= LARGEST_BINARY + LARGEST_JSON:
            parts.pieces.append(piece.data)
        if piece.more:
            return
        del self._parts[job_id]
        self._add(job_id, ring, piece, b"".join(parts.pieces), parts.dropped)
        self.heard(job_id, None)

    def _add(self, job_id: str, ring: Ring[bytes], piece: Emit, data: bytes, dropped: int) -> None:
        text = base64.b64encode(data).decode() if piece.binary else data.decode(errors="replace")
        number = ring.last + dropped + 1  # those that were not sent have numbers too: whoever listens sees the gap
        line = encode(LiveEvent(job_id, ring.run, number, piece.kind, self._clock(), text, piece.binary))
        self._rings.add(job_id, Entry(number, line, len(line), piece.binary))

    def rows_written(self, job_id: str) -> None:
        """The store has more rows of the job's log."""
        self.heard(job_id, RowsWritten(job_id))

    def observe(self, transition: Transition) -> None:
        """A run begins with an empty ring, and its ring ends with it."""
        job = transition.job
        self._parts.pop(job.id, None)
        if transition.started:
            self._rings.begin(job.id, job.run)
            self.heard(job.id, self.mark(job.id))
        elif (ring := self._rings.get(job.id)) is not None:
            self.heard(job.id, LiveMark(job.id, ring.run, ring.last, over=True))
            self._rings.end(job.id)
