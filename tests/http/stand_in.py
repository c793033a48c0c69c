"""A stand-in for the controller: the other end of the control channel and the only one who makes transitions.

Tests tell it what happens to a job; it runs no jobs by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runs import run_of

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, Output, Result
from para_attn_server.core.wire import control as channel
from para_attn_server.core.wire.control import (
    Beat,
    CancelOrder,
    CancelReply,
    GroupState,
    GroupView,
    JobUpdate,
    LineBuffer,
    PoolView,
    QueueView,
    RankView,
    Submitted,
)
from para_attn_server.stores.sql import SqlStore


def pool_view(state: GroupState = GroupState.READY, **changes: Any) -> PoolView:
    """A pool of one group with two ranks."""
    ranks = [RankView(0, 11, "cpu"), RankView(1, 12, "cpu")]
    group = GroupView(0, state, time.time(), ranks, model="stand-in")
    return PoolView(**{"started_at": time.time(), "groups": [group], "versions": {"torch": "9.9"}, **changes})


class StandInController:
    """Serves `control.sock`. `submitted` collects hints, `cancels` the orders; queued jobs are canceled at once,
    running ones when `leave_at_once` is set."""

    def __init__(self, state_dir: Path, view: PoolView | None = None) -> None:
        self.store = SqlStore.open(state_dir / "jobs.sqlite3", durable=False)
        self.view = view or pool_view()
        self.submitted: list[str] = []
        self.cancels: list[str | None] = []
        self.leave_at_once = True
        self.answers = self.beats = True
        self._lock = threading.RLock()
        self._listener = channel.listen(state_dir)
        self._links: dict[socket.socket, LineBuffer] = {}
        self._wake_read, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def vanish(self) -> None:
        """Be gone from the control channel; the store can still be written."""
        if self._thread.is_alive():
            self._wake.send(b"x")
            self._thread.join(5)
            for connection in (*self._links, self._listener, self._wake, self._wake_read):
                connection.close()
            self._links.clear()

    def close(self) -> None:
        """Vanish altogether."""
        self.vanish()
        self.store.close()

    @property
    def links(self) -> int:
        """How many web workers are connected."""
        return len(self._links)

    # --- what happens to jobs ---

    def start(self, job_id: str) -> Job:
        """queued to running."""
        return self._told(self.store.start(job_id, 0, time.time()))

    def step(self, job_id: str, step: int, total: int, written: bool = False) -> None:
        """A step, in the live news and, if written, in the store."""
        if written:
            self.store.progress(job_id, step, total, time.time(), run=run_of(self.store, job_id))
        self.tell(JobUpdate(job_id, "running", step, total))

    def succeed(self, job_id: str, data: bytes = b"picture") -> Job:
        """running to succeeded, with a file."""
        job = self.store.get(job_id)
        assert job is not None
        Path(job.output_path).parent.mkdir(parents=True, exist_ok=True)
        Path(job.output_path).write_bytes(data)
        output = Output(job.output_path, "image/png", len(data), hashlib.sha256(data).hexdigest())
        return self._told(self.store.succeed(job_id, Result((output,)), time.time(), run=run_of(self.store, job_id)))

    def fail(self, job_id: str, error: JobError) -> Job:
        """queued or running to failed."""
        return self._told(self.store.fail(job_id, error, time.time(), run=run_of(self.store, job_id)))

    def cancel(self, job_id: str) -> Job:
        """queued or running to canceled: all ranks have left."""
        return self._told(self.store.cancel(job_id, time.time(), run=run_of(self.store, job_id)))

    def requeue(self, job_id: str) -> Job:
        """running to queued."""
        return self._told(self.store.requeue(job_id, "rank lost", True, time.time(), run=run_of(self.store, job_id)))

    def show(self, view: PoolView) -> None:
        """Another view of the pool."""
        self.view = view
        self.tell(view)

    def show_queue(self, queue: QueueView) -> None:
        """The order of the queue."""
        self.tell(queue)

    def tell(self, message: channel.ToWeb) -> None:
        """A message to every web worker."""
        with self._lock:
            for connection in list(self._links):
                self._send(connection, message)

    def hang_up(self) -> None:
        """End every connection; they may connect anew."""
        with self._lock:
            for connection in list(self._links):
                connection.shutdown(socket.SHUT_RDWR)

    # --- inside ---

    def _told(self, job: Job) -> Job:
        self.tell(JobUpdate(job.id, job.status, job.step, job.total_steps))
        return job

    def _send(self, connection: socket.socket, message: channel.ToWeb) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(channel.encode(message))

    def _run(self) -> None:
        beat_at = 0.0
        while True:
            ready, _, _ = select.select([self._listener, self._wake_read, *self._links], [], [], 1.0)
            if self.beats and time.monotonic() - beat_at >= 1.0:
                beat_at = time.monotonic()
                self.tell(Beat())
            if self._wake_read in ready:
                return
            for connection in ready:
                if connection is self._listener:
                    self._accept()
                else:
                    self._read(connection)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        with self._lock:
            self._send(connection, self.view)
            self._links[connection] = LineBuffer()

    def _read(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = connection.recv(1 << 16)
        if not data:
            with self._lock:
                del self._links[connection]
            connection.close()
            return
        for message in self._links[connection].feed(data):
            if isinstance(message, Submitted):
                self.submitted.append(message.job.id)
            elif isinstance(message, CancelOrder):
                self._ordered(connection, message)

    def _ordered(self, connection: socket.socket, order: CancelOrder) -> None:
        self.cancels.append(order.job_id)
        if not self.answers:
            return
        job = next(self._candidates(order.job_id), None)
        self._send(connection, CancelReply(order.request, job.id if job else None))
        if job is not None and (self.leave_at_once or job.status == "queued"):
            self.cancel(job.id)

    def _candidates(self, job_id: str | None) -> Iterator[Job]:
        if job_id is None:
            yield from self.store.running()
        elif (job := self.store.get(job_id)) is not None and not job.status.terminal:
            yield job
