"""One web worker's end of the control channel: live news from the controller, hints and cancel orders to it.

A background thread, started by `start()` (after the fork, so that each worker has its own), holds the connection,
reconnects with backoff and keeps the news. Nothing here is the truth: callers read jobs from the store and use this
to know when to look. Plain threading; in a gevent worker the threads are greenlets.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from para_attn_server.core.backoff import ExponentialBackoff
from para_attn_server.core.errors import ControllerUnreachable, StoreUnavailable
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.wire import control as channel
from para_attn_server.core.wire.control import (
    Alive,
    Beat,
    CancelOrder,
    CancelReply,
    Follow,
    JobUpdate,
    LineBuffer,
    Listen,
    LiveEvent,
    LiveMark,
    PoolView,
    QueueView,
    RowsWritten,
    Submitted,
    Unlisten,
)
from para_attn_server.service.feeds import Feed, Feeds
from para_attn_server.service.news import JobNews, News

_log = logging.getLogger(__name__)
_FIRST_BACKOFF, _MAX_BACKOFF = 0.05, 2.0
SILENT = 4.0
"""Seconds without a sign of life after which the controller counts as stopped; it gives one every 1.5 s."""
_BEAT_EVERY = 2.5
_VIEW_FOLLOWS = 0.2
_SEND_TIMEOUT, _RECEIVE_TIMEOUT = 1.0, 60.0


@dataclass(slots=True)
class _Asked:
    """A cancel order on its way: set when answered, or when the connection was lost."""

    done: threading.Event
    reply: CancelReply | None = None


class ControlClient:
    """The connection of one web worker to the controller. Thread-safe; a method returns at once unless it says so."""

    def __init__(self, state_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._state_dir, self._clock = state_dir, clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._socket: socket.socket | None = None
        self._connected = False
        self._heard_at = self._beat_at = 0.0
        self._pool: PoolView | None = None
        self._lag = Beat()
        self._queue = QueueView()
        self._places: dict[str, tuple[int, float | None]] = {}
        self._news, self._feeds = News(), Feeds()
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}

    # --- life ---

    def start(self) -> None:
        """Start the background thread; later calls do nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="control-client", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Give up the connection and wake everybody who waits; waits at most 2 s for the thread."""
        self._closing.set()
        self._drop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    # --- news ---

    @property
    def connected(self) -> bool:
        """Whether the controller is on the line now."""
        return self._connected

    @property
    def alive(self) -> bool:
        """Whether the controller is on the line and has shown a sign of life lately: it may be stopped, or hang."""
        return self._connected and self._clock() - self._heard_at <= SILENT

    @property
    def lag(self) -> Beat:
        """How late the controller's loop was so far."""
        return self._lag

    @property
    def closing(self) -> bool:
        """Whether close() was called: whoever waits should give up."""
        return self._closing.is_set()

    def pool(self, timeout: float = 0.0) -> PoolView | None:
        """The latest view of the pool, also of a controller that is gone.

        Waits up to `timeout` seconds for a first, and for an instant where the latest is older than what clients know:
        it shows a job at work whose end was reported.
        """
        if timeout > 0 and (self._pool is None or self._outdated()):
            self.start()
            timeout = timeout if self._pool is None else min(timeout, _VIEW_FOLLOWS)
            with self._changed:
                self._changed.wait_for(
                    lambda: self.closing or (self._pool is not None and not self._outdated()), timeout
                )
        return self._pool

    def _outdated(self) -> bool:
        jobs = [group.job_id for group in self._pool.groups if group.job_id] if self._pool is not None else []
        news = [self._news.get(job_id) for job_id in jobs]
        return any(one is not None and JobStatus(one.update.status).terminal for one in news)

    @property
    def queue(self) -> QueueView:
        """The queue as the controller has published it last; empty while there is no connection."""
        return self._queue

    def place(self, job_id: str) -> tuple[int, float | None] | None:
        """How many jobs will start before that queued one, and when it will have ended, by the steady clock, where that
        is known; None where its place is not known (yet)."""
        return self._places.get(job_id)

    def live(self, job_id: str) -> JobNews | None:
        """The latest news of a job on this connection, None if there was none."""
        return self._news.get(job_id)

    def follow(self, job_id: str) -> None:
        """Have the controller report a running job's steps; else only changes of its status come."""
        if self._news.follow(job_id):
            with self._lock:
                self._send_locked(Follow(job_id))

    @contextmanager
    def watch(self, job_id: str) -> Iterator[threading.Event]:
        """An event that is set when the job has ended, or the link goes up or down."""
        with self._news.watch(job_id) as event:
            yield event

    @contextmanager
    def listen(self, job_id: str) -> Iterator[tuple[Feed, threading.Event]]:
        """The job's live events as they come, and an event that is set when there is something new of the job, or the
        link goes up or down."""
        try:
            with self._feeds.listen(job_id) as (feed, woken, new):
                if new:
                    feed.place = self._places.get(job_id)
                    self._say_who_listens(job_id)
                yield feed, woken
        finally:
            if job_id not in self._feeds:
                self._say_who_listens(job_id)

    def _say_who_listens(self, job_id: str) -> None:
        with self._lock:  # as it is at the moment of sending: of several threads that come and go the last one is right
            self._send_locked(Listen(job_id) if job_id in self._feeds else Unlisten(job_id))

    def wake_all(self) -> None:
        """Set the events of all who watch a job or listen to one."""
        self._news.wake_all()
        self._feeds.wake_all()

    # --- orders ---

    def submitted(self, job: Job, request_id: str | None = None) -> None:
        """Notify the controller of a new job. A hint: when it is lost the controller finds the job in the store."""
        with self._lock:
            self._send_locked(Submitted(job, request_id))

    def beat(self) -> None:
        """Show the controller that this process's loop goes round; call it once a second, from that loop."""
        now = self._clock()  # read each time: so it sees where this process was paused
        if now - self._beat_at >= _BEAT_EVERY:
            self._beat_at = now
            with self._lock:
                self._send_locked(Alive())

    def cancel(self, job_id: str | None, timeout: float) -> CancelReply:
        """Order a cancel (None: of the oldest running job) and wait up to `timeout` seconds for the controller's reply.

        Raises ControllerUnreachable when the controller cannot be asked or does not reply, StoreUnavailable when the
        store cannot take the order: the job stays queued.
        """
        self.start()
        asked, number = _Asked(threading.Event()), next(self._numbers)
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._connected or self.closing, min(timeout, _SEND_TIMEOUT))
                # In one go with its sending: who is told that this connection was lost has no order on the next one.
                self._asked[number] = asked
                sent = self._send_locked(CancelOrder(number, job_id))
            if not sent or not asked.done.wait(timeout) or asked.reply is None:
                raise ControllerUnreachable("the controller does not respond; try again in a moment")
            if asked.reply.error is not None:
                raise StoreUnavailable(asked.reply.error, asked.reply.error)
            return asked.reply
        finally:
            with self._lock:
                self._asked.pop(number, None)

    def _send_locked(self, message: channel.ToController) -> bool:
        """Whether the message is on its way; call it with the lock held."""
        out = self._socket
        if out is None:
            return False
        try:
            out.sendall(channel.encode(message))
            return True
        except OSError as error:
            # Half a line may be out, so the connection is of no more use; the reader sees its end.
            _log.warning("control channel: cannot send: %s", error)
            _shut(out)
            self._socket = None
            return False

    # --- the background thread ---

    def _run(self) -> None:
        backoff = ExponentialBackoff(_FIRST_BACKOFF, _MAX_BACKOFF)
        while not self.closing:
            try:
                connection = channel.connect(self._state_dir)
            except OSError as error:
                _log.debug("control channel: cannot connect: %s", error)
            else:
                started = time.monotonic()
                self._serve(connection)
                if time.monotonic() - started > _MAX_BACKOFF:
                    backoff.reset()
            self._closing.wait(backoff.fail() * random.uniform(0.5, 1.0))

    def _serve(self, connection: socket.socket) -> None:
        out = connection.dup()
        out.settimeout(_SEND_TIMEOUT)
        connection.settimeout(_RECEIVE_TIMEOUT)  # a time-out makes both of them non-blocking: they share one file
        with connection, out:
            self._up(out)
            lines = LineBuffer()
            try:
                while not self.closing and (data := _received(connection)):
                    self._heard_at = self._clock()
                    for message in lines.feed(data):
                        self._take(message)
            except OSError as error:
                _log.warning("control channel: connection lost: %s", error)
            except Exception:
                _log.exception("control channel: invalid message; reconnecting")
            finally:
                self._drop()

    def _up(self, out: socket.socket) -> None:
        with self._changed:
            self._socket, self._connected, self._heard_at = out, True, self._clock()
            self._news.reset()
            self._feeds.lost()
            for job_id in self._feeds.jobs():
                self._send_locked(Listen(job_id))
            self._changed.notify_all()

    def _drop(self) -> None:
        with self._changed:
            out, self._socket, self._connected = self._socket, None, False
            if out is not None:
                _shut(out)
            for asked in self._asked.values():
                asked.done.set()
            self._news.reset()
            self._feeds.lost()
            self._show(QueueView())
            self._changed.notify_all()

    def _show(self, queue: QueueView) -> None:
        places = queue.places or range(len(queue.jobs))
        self._queue = queue
        self._places = dict(zip(queue.jobs, zip(places, queue.ends, strict=True), strict=True))
        self._feeds.queue(self._places)

    def _take(self, message: channel.ToWeb | channel.ToController) -> None:
        if isinstance(message, JobUpdate):
            self._news.put(message)
            self._feeds.take(message)
        elif isinstance(message, LiveEvent | LiveMark | RowsWritten):
            self._feeds.take(message)
        elif isinstance(message, PoolView):
            with self._changed:
                stopping = message.stopping and not (self._pool and self._pool.stopping)
                self._pool = message
                self._changed.notify_all()
            if stopping:
                self._news.wake_all()
        elif isinstance(message, QueueView):
            self._show(message)
        elif isinstance(message, Beat):
            self._lag = message
        elif isinstance(message, CancelReply) and (asked := self._asked.get(message.request)) is not None:
            asked.reply = message
            asked.done.set()


def _received(connection: socket.socket) -> bytes:
    while True:
        with contextlib.suppress(TimeoutError):
            return connection.recv(1 << 16)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        _log.debug("control channel: already closed")
