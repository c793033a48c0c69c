"""The controller's signs of life, from the loop that does the work, and how late that loop is."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, MutableMapping

from para_attn_server.core.wire.control import Beat

BEAT_EVERY = 1.5
"""Seconds between two signs of life."""


class LoopLag:
    """How long what was due had to wait, in whole milliseconds, of all ticks so far."""

    def __init__(self) -> None:
        self._ticks: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """One tick's."""
        self._ticks[min(100_000, round(max(0.0, seconds) * 1000))] += 1

    def quantile(self, part: float) -> float:
        """Seconds that this part of the ticks did not exceed; 0 before the first."""
        left = part * self._ticks.total()
        for milliseconds, ticks in sorted(self._ticks.items()):
            left -= ticks
            if left <= 0:
                return milliseconds / 1000
        return 0.0


class Supervisor:
    """The service manager that started this process, if it wants to hear of it: see sd_notify(3).

    Its variables are taken out of the environment: they are meant for this process alone.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        self.watches = bool(watchdog) and pid in ("", str(os.getpid()))

    def notify(self, state: str) -> None:
        """Say so; without a service manager, and if it does not listen, nothing happens."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(state.encode(), self._address)


class Pulse:
    """Beats for the web workers and the service manager. clock: monotonic seconds."""

    def __init__(self, publish: Callable[[Beat], None], supervisor: Supervisor, clock: Callable[[], float]) -> None:
        self._publish, self._supervisor, self._clock = publish, supervisor, clock
        self._lag = LoopLag()
        self._due: float | None = None
        self._woke = 0.0
        self._beat_at = 0.0

    def woke(self) -> None:
        """A tick begins."""
        self._woke = self._clock()

    def tick(self, pause: float) -> None:
        """And ends: it has kept others waiting too. pause: seconds until the next one begins."""
        now = self._clock()
        if self._due is not None:
            self._lag.add(max(self._woke - self._due, now - self._woke))
        self._due = now + pause
        if now - self._beat_at >= BEAT_EVERY - pause / 2:
            self._beat_at = now
            self._publish(Beat(*map(self._lag.quantile, (0.5, 0.999, 1.0))))
            if self._supervisor.watches:
                self._supervisor.notify("WATCHDOG=1")
