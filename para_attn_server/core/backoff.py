"""Pauses between tries that fail, each twice as long as the one before. No clock of its own."""

from __future__ import annotations


class ExponentialBackoff:
    """Counts failures in a row. first, last: seconds of the shortest and the longest pause; unpaused: failures that
    are followed by none."""

    def __init__(self, first: float, last: float, unpaused: int = 0) -> None:
        self._first, self._last, self._unpaused = first, last, unpaused
        self.failures = 0

    def fail(self) -> float:
        """A try has failed; seconds until the next one."""
        self.failures += 1
        doubled = self.failures - self._unpaused - 1
        return min(self._first * 2.0 ** min(doubled, 32), self._last) if doubled >= 0 else 0.0

    def reset(self) -> None:
        """A try went well."""
        self.failures = 0
