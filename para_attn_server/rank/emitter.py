"""The events that a predictor emits, sent by a thread of its own: the model neither waits for them nor pays for them.

An event goes out at once, and the next one a moment later: up to 100 a second and 4 MiB a second. What comes faster
waits: pieces of text are joined, of binary data of one kind the latest is kept, and of more than that some are dropped
and counted. An event travels in pieces that go into the pipe only while nothing else is in it, so that steps and lines
always find room. What happens to it then is the controller's business (pool/live_events.py).
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from para_attn_server.core.emitted import LARGEST_JSON, TEXT, Emitted
from para_attn_server.core.wire.ranks import Emit, FromRank

GAP = 0.01
"""Seconds between two events, at the least."""
BYTES_PER_SECOND = 4 * 2**20
MOST_WAITING, MOST_BYTES_WAITING = 64, 2 * 2**20
PIECE = 12 * 1024
"""Bytes of data per message: what fits into the room that a pipe has left when it reports that it has some."""
_NAP = 0.001
_JOINED = LARGEST_JSON // 6
"""Characters of text that are joined: as JSON, even control characters take no more than an event may have."""


class Emitter:
    """The events of one run at a time, for any of its threads.

    offer: sends a message if that can be done at once, and says whether it did. send: waits. idle: whether the pipe is
    empty.
    """

    def __init__(
        self, offer: Callable[[FromRank], bool], send: Callable[[FromRank], None], idle: Callable[[], bool]
    ) -> None:
        self._offer, self._send, self._idle = offer, send, idle
        self._lock = threading.RLock()  # an event may be emitted while another is: by a destructor
        self._added, self._hurry, self._sent = (threading.Condition(self._lock) for _ in range(3))
        self._waiting: deque[Emitted] = deque()
        self._serial: int | None = None
        self._dropped = 0
        self._ending = self._sending = False
        self._thread: threading.Thread | None = None

    def begin(self, serial: int) -> None:
        """A run begins: its events follow."""
        with self._lock:
            self._serial, self._dropped, self._ending = serial, 0, False
            self._waiting.clear()

    def add(self, event: Emitted) -> None:
        """An event; does nothing where no run is under way."""
        with self._lock:
            if self._serial is None or self._ending:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="emit", daemon=True)
                self._thread.start()
            self._put(event)
            self._bound()
            self._added.notify()

    def drop(self) -> None:
        """An event is not sent: it is counted."""
        with self._lock:
            self._dropped += 1

    def end(self) -> None:
        """The run is over: send what waits, before the message that ends it, and so waiting for room."""
        with self._lock:
            self._ending = True
            self._hurry.notify()
            while self._waiting or self._sending:
                self._sent.wait()
            self._serial = None

    def _put(self, event: Emitted) -> None:
        last = self._waiting[-1] if self._waiting else None
        if event.text is not None and last is not None and last.text is not None:
            if len(last.text) + len(event.text) <= _JOINED:
                self._waiting[-1] = Emitted(TEXT, b"", text=last.text + event.text)
                return
        elif event.binary:
            self._waiting = deque(each for each in self._waiting if not (each.binary and each.kind == event.kind))
        self._waiting.append(event)

    def _bound(self) -> None:
        while len(self._waiting) > MOST_WAITING or sum(map(_size, self._waiting)) > MOST_BYTES_WAITING:
            older = list(self._waiting)[:-1]
            first = next((e for e in older if e.binary), None) or next((e for e in older if e.text is None), older[0])
            self._waiting.remove(first)
            self._dropped += 1

    # --- the thread ---

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    self._added.wait()
                event, serial, dropped = self._waiting.popleft(), self._serial, self._dropped
                self._dropped, self._sending = 0, True
            assert serial is not None
            for piece in _pieces(serial, event, dropped):
                self._pass_on(piece)
            with self._lock:
                self._sending = False
                self._sent.notify()
                if not self._ending:
                    self._hurry.wait(max(GAP, _size(event) / BYTES_PER_SECOND))

    def _pass_on(self, piece: Emit) -> None:
        while not self._ending:
            if self._idle() and self._offer(piece):
                return
            time.sleep(_NAP)
        self._send(piece)


def _size(event: Emitted) -> int:
    return len(event.data) if event.text is None else len(event.text)


def _pieces(serial: int, event: Emitted, dropped: int) -> Iterator[Emit]:
    data = event.data if event.text is None else json.dumps(event.text, ensure_ascii=False).encode()
    for start in range(0, len(data) or 1, PIECE):
        more = start + PIECE < len(data)
        yield Emit(serial, event.kind, data[start : start + PIECE], event.binary, more, 0 if start else dropped)
