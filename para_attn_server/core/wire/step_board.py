"""The step board: the shared memory in which the ranks of one group agree on every step.

An anonymous memory file (nothing with a name is left behind, however the processes end), mapped by the controller and
by each rank. Every fact is one aligned 64-bit word, written by one process only and by a single store, so that a reader
never sees half of it. A word about a run starts with the run's serial: words of an earlier run never match.

    word 0                     rank zero's decision:    serial (24 bits) | control point (32) | decision (8)
    words 8 + 8 r ... of rank r:
      +0 entry                 the rank's answer to Run: serial (24) | digest of its arguments or an Entry (40)
      +1 progress              serial (24) | control points passed (32) | phase (8)
      +2 heartbeat             time.monotonic_ns() of the last progress
      +3 step, +4 total        denoising steps done, and of how many (0: unknown)
      +5 logged                time.monotonic_ns() of the last line that predict's own thread has logged

A control point is a call of step control; the ranks of a run pass the same points in the same order. Point 0 is the
entry into the run.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

_WORD = 8
_LINE = 8  # words per cache line; each rank writes to lines of its own
_MASK_24, _MASK_32, _MASK_40 = 2**24 - 1, 2**32 - 1, 2**40 - 1


class Decision(IntEnum):
    """What rank zero has decided at a control point."""

    NONE = 0
    GO = 1
    CANCEL = 2
    REFUSE = 3


class Phase(IntEnum):
    """What a rank is doing."""

    IDLE = 0
    PREDICT = 1
    WAITING = 2
    LEFT = 3


REFUSED_ENTRY = 2**40 - 1
"""Entry of a rank that refuses the arguments; a digest is kept below it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One rank's progress. heartbeat: monotonic seconds of its last sign of life. logged: of the last line that its
    predict's own thread has logged."""

    serial: int
    points: int
    phase: Phase
    heartbeat: float
    step: int
    total: int | None
    logged: float = 0.0


class StepBoard:
    """One process's view of its group's board. The controller creates it and hands its descriptor to the ranks."""

    def __init__(self, fd: int, num_ranks: int) -> None:
        self.fd = fd
        self.num_ranks = num_ranks
        self._map = mmap.mmap(fd, self.size(num_ranks))
        self._words: Any = memoryview(self._map).cast("q")

    @staticmethod
    def size(num_ranks: int) -> int:
        """Bytes of a board."""
        return _WORD * _LINE * (1 + num_ranks)

    @classmethod
    def create(cls, num_ranks: int) -> StepBoard:
        """A zeroed board in a memory file that goes with its last process."""
        fd = os.memfd_create("para-attn-server-board")
        os.ftruncate(fd, cls.size(num_ranks))
        return cls(fd, num_ranks)

    def close(self) -> None:
        """Unmap the board and close the descriptor."""
        self._words.release()
        self._map.close()
        os.close(self.fd)

    # --- rank zero's decision ---

    def decide(self, serial: int, point: int, decision: Decision) -> None:
        """Publish rank zero's decision for one control point of a run."""
        self._words[0] = _pack(serial, (point & _MASK_32) << 8 | decision)

    def decision(self, serial: int, point: int) -> Decision:
        """The decision for that point, NONE if there is none yet.

        Rank zero goes beyond a point only after deciding GO there, so a later word of the same run means GO.
        """
        word = self._words[0] & (2**64 - 1)
        if word >> 40 != serial & _MASK_24:
            return Decision.NONE
        decided = word >> 8 & _MASK_32
        if decided > point:
            return Decision.GO
        return Decision(word & 0xFF) if decided == point else Decision.NONE

    # --- a rank's own words ---

    def enter(self, rank: int, serial: int, entry: int) -> None:
        """A rank's answer to Run: the digest of its arguments, or REFUSED_ENTRY."""
        self._words[_base(rank)] = _pack(serial, entry)

    def entry(self, rank: int, serial: int) -> int | None:
        """That rank's answer to the run, None before it has answered."""
        word = self._words[_base(rank)] & (2**64 - 1)
        return word & _MASK_40 if word >> 40 == serial & _MASK_24 else None

    def report(self, rank: int, serial: int, points: int, phase: Phase) -> None:
        """A rank's progress; also its heartbeat."""
        base = _base(rank)
        self._words[base + 2] = time.monotonic_ns()
        self._words[base + 1] = _pack(serial, (points & _MASK_32) << 8 | phase)

    def report_step(self, rank: int, step: int, total: int | None) -> None:
        """The denoising step that a rank has done."""
        base = _base(rank)
        self._words[base + 3] = step
        self._words[base + 4] = total or 0

    def report_line(self, rank: int) -> None:
        """Predict's own thread logs a line now."""
        self._words[_base(rank) + 5] = time.monotonic_ns()

    def progress(self, rank: int) -> Progress:
        """What is known of one rank."""
        base = _base(rank)
        word = self._words[base + 1] & (2**64 - 1)
        return Progress(
            serial=word >> 40,
            points=word >> 8 & _MASK_32,
            phase=Phase(word & 0xFF),
            heartbeat=self._words[base + 2] / 1e9,
            step=self._words[base + 3],
            total=self._words[base + 4] or None,
            logged=self._words[base + 5] / 1e9,
        )


def _base(rank: int) -> int:
    return _LINE * (1 + rank)


def _pack(serial: int, low: int) -> int:
    word = (serial & _MASK_24) << 40 | low & _MASK_40
    return word - 2**64 if word >= 2**63 else word
