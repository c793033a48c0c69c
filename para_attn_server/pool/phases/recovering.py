"""From a group's end to its next launch: every rank is killed and waited for, then the group rests if it must.

Two models must never be in one GPU's memory, so nothing is started before the last rank is dead.
"""

from __future__ import annotations

import structlog

from para_attn_server.core.wire.ranks import FromRank
from para_attn_server.executors.base import ExitInfo, RankHandle, StepChannel
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.phases.phase import GroupParts, Phase
from para_attn_server.pool.phases.running import RunReports
from para_attn_server.pool.ranks import Ranks
from para_attn_server.pool.run import WRITING_LOST, JobRun, Lost, Outcome

log = structlog.get_logger()


class Ending(Phase):
    """All ranks are killed; when the last one is dead, what follows is decided and the run's outcome is reported.

    verdict: what the run came to. failure: why the setup failed, if it was that. launching: ranks may still come.
    """

    def __init__(
        self, group: GroupParts, verdict: Outcome, run: JobRun | None, failure: SetupFailure | None, launching: bool
    ) -> None:
        super().__init__(group)
        self.run = run
        self._verdict, self._failure, self._launching = verdict, failure, launching
        self._reports = None if run is None else RunReports(group, run)

    def begin(self) -> None:
        self.group.ranks.kill()
        self._look()

    def launched(self, handles: list[RankHandle], steps: StepChannel) -> None:
        self._launching = False
        self.group.ranks.adopt(handles, steps)
        self.group.ranks.kill()
        self.group.changed()

    def launch_failed(self, failure: SetupFailure) -> None:
        self._launching = False
        self._failure = self._failure or failure
        self._look()

    def message(self, rank: int, message: FromRank) -> None:
        """An output that was published before the kill is the job's."""
        if self._reports is not None and self._reports.concerns(message):
            self._reports.note(message, self.group.clock())
        else:
            super().message(rank, message)

    def died(self, rank: int, death: ExitInfo) -> None:
        self._look()

    def stop(self) -> None:
        """They are being killed already."""
        self.group.ranks.kill()

    def _look(self) -> None:
        if not self._launching and not self.group.ranks.any_alive:
            self._on_all_dead()

    def _on_all_dead(self) -> None:
        run, reports = self.run, self._reports
        verdict = (run and run.result) or self._verdict
        progress = (0, None) if reports is None else reports.last_progress()
        of_writings = verdict if run is None and isinstance(verdict, Lost) else WRITING_LOST
        self.group.writings.lost(of_writings)
        self._go_on(verdict)
        if reports is not None:
            reports.end(verdict, progress)

    def _go_on(self, verdict: Outcome) -> None:
        group = self.group
        if group.state is GroupState.STOPPING:
            group.finish()
        elif self._failure is not None:
            self._after_failed_setup(self._failure)
        elif isinstance(verdict, Lost) and (verdict.charge or verdict.from_outside):
            self._launch_after(*group.backoff.lost(verdict.from_outside))
        else:
            group.launch()

    def _after_failed_setup(self, failure: SetupFailure) -> None:
        group = self.group
        pause, broken = group.backoff.add(failure)
        group.cause = str(failure)
        self._launch_after(pause, broken)
        if (failure.own_fault and pause) or broken:
            group.outbox.post(group.listener.setup_failed, group.index, failure)

    def _launch_after(self, pause: float, broken: bool) -> None:
        if not pause:
            self.group.launch()
            return
        self.group.rest(pause)
        self.group.show(GroupState.BROKEN if broken else GroupState.RECOVERING)


class Resting(Phase):
    """No rank is left. The next launch waits, so that a model that cannot be set up does not keep the machine busy."""

    def __init__(self, group: GroupParts, pause: float) -> None:
        super().__init__(group)
        self._pause, self.deadline = pause, group.clock() + pause

    def begin(self) -> None:
        log.warning("backing off before relaunch", group=self.group.index, seconds=self._pause)
        self.group.ranks = Ranks(self.group.num_ranks)

    def overdue(self) -> None:
        self.group.launch()

    def rebuild(self, cause: str) -> None:
        self.group.launch()

    def stop(self) -> None:
        self.group.finish()
