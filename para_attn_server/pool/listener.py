"""What a group reports to the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from para_attn_server.core.wire.control import GroupState as GroupState
from para_attn_server.core.wire.ranks import Emit, Failed, Ready
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.run import Ending, Lost
from para_attn_server.stores.base import Progress


class GroupListener(Protocol):
    """What a group reports to the pool."""

    def group_changed(self) -> None:
        """A group's state, ranks or cause are new."""

    def group_ready(self, group: int, ready: Ready) -> None:
        """All ranks of that group are set up; `ready` is rank zero's."""

    def setup_failed(self, group: int, failure: SetupFailure) -> None:
        """A setup of that group has failed; it will try again. Not called for ranks that were killed from outside,
        unless that happens again and again."""

    def run_started(self, job_id: str) -> None:
        """Rank zero enters predict."""

    def run_stepped(self, job_id: str, step: int, total: int | None) -> None:
        """A step is done."""

    def run_logged(self, job_id: str, lines: Sequence[str], left_out: int) -> None:
        """The predictor has logged lines; `left_out` more of them before these have not come through."""

    def run_emitted(self, job_id: str, piece: Emit) -> None:
        """The predictor has emitted an event, of which this is a piece."""

    def run_failed(self, job_id: str, cause: Failed) -> None:
        """What the run's error comes from, reported just before the run's end."""

    def run_ended(self, job_id: str, outcome: Ending, progress: Progress) -> None:
        """The job has come to its end, and all ranks have left it; `progress` is rank zero's last."""

    def run_writing(self, job_id: str) -> None:
        """All ranks have left the run; rank zero still writes what it has returned. Its end follows."""

    def writing_lost(self, job_id: str, lost: Lost) -> None:
        """What such a run has returned is lost with its group, of which no rank is left."""

    def group_free(self, group: int) -> None:
        """That group can take a job again, and no end of a run has come just before."""

    def run_lost(self, job_id: str, lost: Lost) -> None:
        """The run came to nothing through no error of the job's own: its group was lost, and no rank of it is left, or
        the predictor asks for another try, and all ranks have left it."""
