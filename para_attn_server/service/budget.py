"""How many clients may wait at a time: fewer than there are connections, so that one is free for whoever comes next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


def spare(connections: int) -> int:
    """How many of a web worker's connections neither clients that wait nor idle ones may hold."""
    return max(1, connections // 10)


class Budget:
    """A number of places. Thread-safe; nobody queues for one."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._lock = threading.Lock()

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Hold a place. False where none is free: then there is nothing to hold."""
        with self._lock:
            taken = self._free > 0
            self._free -= taken
        try:
            yield taken
        finally:
            with self._lock:
                self._free += taken


def waiters(connections: int) -> Budget:
    """For those who wait for something to happen: a job's end, later its events."""
    return Budget(max(0, connections - 2 * spare(connections)))


def cancelers(connections: int) -> Budget:
    """For those who wait until a canceled job has ended; apart, so that waiting for jobs cannot use it up."""
    return Budget((spare(connections) + 1) // 2)
