"""Stands for the controller's loop: what is to be done on it is done when the test says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from para_attn_server.pool.store_thread import StoreThread
from para_attn_server.stores.base import JobStore


class Loop:
    """With the store's thread, as the controller has it."""

    def __init__(self, store: JobStore) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.store = StoreThread(store, self._calls.put)

    def run(self, done: Callable[[], object], timeout: float = 10.0) -> None:
        """Go round until then."""
        ends = time.monotonic() + timeout
        while not done():
            try:
                self._calls.get(timeout=0.005)()
            except Empty:
                assert time.monotonic() < ends, "the condition did not come true"

    def run_once(self) -> None:
        """Do one thing, if there is one."""
        with suppress(Empty):
            self._calls.get(timeout=0.001)()

    def settle(self) -> None:
        """Go round until the store has nothing to do any more."""
        self.run(lambda: not self.store.outstanding)

    def close(self) -> None:
        """End the store's thread."""
        assert self.store.close(10.0)
