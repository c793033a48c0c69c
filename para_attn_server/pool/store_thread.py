"""The thread of the store: all that the controller reads and writes there, one piece of work after the other.

A store may take seconds (a locked database, a disk that hangs), and the controller's loop has deadlines to keep. So no
call to it is made on the loop: work is handed over here, and what it has come to is brought back to the loop. Decides
nothing: what is tried again, and in which order, is the write queue's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.stores.base import JobStore

T = TypeVar("T")
CALLER_WAITS = 30.0
"""Seconds that another thread waits for the store."""


class StoreThread:
    """One thread, begun at the first piece of work. call_soon: has a function called on the loop, from any thread.

    It is a daemon: a store that never returns does not keep the process from its end.
    """

    def __init__(self, store: JobStore, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._store, self._call_soon = store, call_soon
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.outstanding = 0
        """Pieces of work from `do` whose result has not been brought back yet."""

    def do(self, work: Callable[[JobStore], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """From the loop: have this done; `done` gets its result on the loop, or `failed` what it has raised."""
        self.outstanding += self._put(partial(self._do, work, done, failed))

    def submit(self, work: Callable[[JobStore], T]) -> Future[T]:
        """From any thread: have this done; its result is set in the store's thread. Never wait for it on the loop."""
        future: Future[T] = Future()
        if not self._put(partial(self._set, work, future)):
            future.set_exception(StoreUnavailable("the job store is closed"))
        return future

    def caller(self) -> JobStore:
        """The store for other threads, which may wait: each call of it is made here. No transactions.

        A call raises StoreUnavailable where the store takes longer than `CALLER_WAITS`.
        """
        return cast(JobStore, _Caller(self))

    def close(self, timeout: float) -> bool:
        """Do what was handed over and end; False where that takes longer."""
        with self._lock:
            self._closed = True
            self._work.put(None)
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _put(self, work: Callable[[], None]) -> bool:
        """False where it is closed: then nothing is done any more."""
        with self._lock:
            if self._closed:
                return False
            self._work.put(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store", daemon=True)
                self._thread.start()
            return True

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _do(
        self, work: Callable[[JobStore], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        bring: Callable[[], None]
        try:
            bring = partial(done, work(self._store))
        except Exception as error:
            bring = partial(failed, error)
        with suppress(RuntimeError):  # the loop has ended
            self._call_soon(partial(self._bring, bring))

    def _bring(self, result: Callable[[], None]) -> None:
        self.outstanding -= 1
        result()

    def _set(self, work: Callable[[JobStore], T], future: Future[Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(self._store))
            except Exception as error:
                future.set_exception(error)


class _Caller:
    def __init__(self, thread: StoreThread) -> None:
        self._thread = thread

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            future = self._thread.submit(lambda store: getattr(store, name)(*args, **options))
            try:
                return future.result(CALLER_WAITS)
            except TimeoutError:
                raise StoreUnavailable("the job store does not respond") from None

        return call
