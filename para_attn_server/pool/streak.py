"""Whether a group whose jobs fail one after the other may itself be damaged, so that it is worth a rebuild.

Nothing is known of the damage: a `self` that a job has broken, leaked descriptors or memory, a device gone bad. What is
known is that different jobs fail and none succeeds. No clock of its own.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from para_attn_server.core.backoff import ExponentialBackoff

FAILURES = 3
"""Jobs that failed in a row, of different arguments, for which the group is rebuilt."""
PAUSE_FIRST, PAUSE_LAST = 60.0, 3600.0
"""Seconds after such a rebuild, without a success since, until the next: doubled each time, up to the last."""
NOT_COUNTED = ("invalid_input", "timeout", "expired", "output_unwritable")
"""Error types that say nothing of the group: the request's fault, the clock's, the output disk's."""
_REMEMBERED = 256
_LONGEST_WORD = 64


class FailureStreak:
    """The failures in a row of one group's jobs."""

    def __init__(self) -> None:
        self._count = 0
        self._digests: set[int] = set()
        self._pauses, self._not_before = ExponentialBackoff(PAUSE_FIRST, PAUSE_LAST), 0.0
        self._fitted: dict[Any, None] = {}

    def succeeded(self, arguments: Mapping[str, Any]) -> None:
        """A job has succeeded: the group works."""
        self.rebuilt()
        self._pauses.reset()
        self._not_before = 0.0
        self._fitted[_shape(arguments)] = None
        if len(self._fitted) > _REMEMBERED:
            del self._fitted[next(iter(self._fitted))]

    def failed(self, arguments: Mapping[str, Any], kind: str, now: float) -> bool:
        """A job has failed on all ranks alike; True if the group is to be rebuilt for it. kind: its error's type."""
        if kind in NOT_COUNTED or (kind == "out_of_memory" and _shape(arguments) not in self._fitted):
            return False
        self._count += 1
        self._digests.add(hash(pickle.dumps(arguments)))
        if self._count < FAILURES or len(self._digests) < 2 or now < self._not_before:
            return False
        self._not_before = now + self._pauses.fail()
        return True

    def rebuilt(self) -> None:
        """The ranks are new, for this reason or another."""
        self._count = 0
        self._digests.clear()


def _shape(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides how much memory a job takes, as far as its arguments show: not the seed and not the texts."""
    return tuple((name, _size(arguments[name])) for name in sorted(arguments) if name != "seed")


def _size(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_WORD and len(value.split()) == 1 else None
    return len(value) if isinstance(value, list | dict) else value
