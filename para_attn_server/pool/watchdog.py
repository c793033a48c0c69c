"""The watchdog's judgement: is a run stuck, and which rank holds the others up? Pure functions of what was seen.

The heartbeat is the step board, written by the work itself: no side thread stays alive when the work hangs. What to
do about a stuck run is the group's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from para_attn_server.core.errors import JobError
from para_attn_server.core.wire.step_board import Phase, Progress
from para_attn_server.pool.run import JobRun

LEARNED_FROM = 3
"""Steps of a run that must be done before its own pace says anything: the first may compile or tune kernels."""
PATIENCE = 10
"""A step may take that many times the longest step of its run so far."""
ENTRY_BUDGET = 15.0
"""Seconds from Run to the entry into predict: the ranks only check the arguments."""
_COLLECTIVE = ("distributed_c10d.py", "_functional_collectives.py")


@dataclass(frozen=True, slots=True)
class RankSnapshot:
    """What is known of one rank when a run is stuck. stacks: what faulthandler printed, empty if it could not."""

    progress: Progress
    stopped: bool
    stacks: str

    def for_log(self) -> dict[str, Any]:
        """As fields of a log record."""
        phase = self.progress.phase.name.lower()
        return {"points": self.progress.points, "phase": phase, "stopped": self.stopped, "stacks": self.stacks}


def step_budget(run: JobRun, total: int | None, step_timeout: float, min_step_timeout: float) -> float:
    """Seconds that the run may go without a sign of life now.

    The run's own pace counts between its steps; before them, and after the last one (decoding, encoding, saving), only
    the hard limit does. step_timeout and min_step_timeout: the settings of those names.
    """
    if not run.entered:
        return min(step_timeout, ENTRY_BUDGET)
    between_steps = total is not None and LEARNED_FROM <= run.step < total
    if not between_steps or not run.longest_step:
        return step_timeout
    return min(step_timeout, max(min_step_timeout, PATIENCE * run.longest_step))


def hang(run: JobRun, silence: float, sights: Sequence[RankSnapshot]) -> JobError:
    """The text for a stuck run's client and the log; names the laggard if known."""
    laggard, why = find_laggard(sights)
    who = "which rank is undetermined" if laggard is None else f"rank {laggard} holds the others up"
    message = f"no progress for {silence:.1f} s after step {run.step}: {who} ({why})"
    return JobError("hang", message, laggard, run.step)


def find_laggard(sights: Sequence[RankSnapshot]) -> tuple[int | None, str]:
    """The rank that holds the others up, and how that is known; None where it is not known.

    In this order: a stopped process; the fewest control points passed (at the same point, one that works is behind one
    that waits); the only one outside a collective.
    """
    stopped = [rank for rank, sight in enumerate(sights) if sight.stopped]
    if stopped:
        return stopped[0], "its process is stopped"
    behind = [(s.progress.points, s.progress.phase is Phase.WAITING, s.progress.phase is Phase.LEFT) for s in sights]
    if len(sights) == 1 or behind.count(min(behind)) == 1:
        return behind.index(min(behind)), "it is behind the others"
    outside = [rank for rank, sight in enumerate(sights) if sight.stacks and not _in_collective(sight.stacks)]
    if len(outside) == 1:
        return outside[0], "the others wait in a collective"
    return None, "the ranks are at the same point"


def _in_collective(stacks: str) -> bool:
    return any(name in stacks for name in _COLLECTIVE)
