"""A worker group: the N ranks that work on one job together. It starts, fails and heals as one.

A state machine without I/O of its own: ranks are started and spoken to through an executor, time is given to `tick`,
and what matters to the pool goes to its listener. Whatever goes wrong with one rank, the whole group is killed, every
rank is waited for, and the group is built anew. What happens means something else in each phase of its life: see
pool/phases/. Here are the calls from outside, and the moves between the phases:

    Launching -> Waiting <-> Running          any -> Ending -> Launching, or Resting -> Launching
    Waiting -> Leaving -> Stopped             Ending or Resting -> Stopped, once the server stops
"""

from __future__ import annotations

from typing import Any

import structlog

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.errors import ServerError
from para_attn_server.core.job import Job
from para_attn_server.core.output import temporary_path
from para_attn_server.core.uploads import input_path
from para_attn_server.core.wire.control import GroupView
from para_attn_server.core.wire.launch import GroupSpec
from para_attn_server.core.wire.ranks import Cancel, FromRank, Run, Unwritten, Written
from para_attn_server.executors.base import Executor, ExitInfo, RankHandle, StepChannel
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.listener import GroupListener, GroupState
from para_attn_server.pool.monitor import Timeouts
from para_attn_server.pool.outbox import transition
from para_attn_server.pool.phases.launching import Launching
from para_attn_server.pool.phases.phase import GroupParts, Phase
from para_attn_server.pool.phases.recovering import Ending, Resting
from para_attn_server.pool.phases.running import Running
from para_attn_server.pool.phases.stopping import Leaving, Stopped
from para_attn_server.pool.phases.waiting import Waiting
from para_attn_server.pool.ranks import Ranks
from para_attn_server.pool.run import JobRun, Outcome, StopOrder

log = structlog.get_logger()


class Group(GroupParts):
    """One worker group; also the RankEvents that its executor reports to.

    spec: what its ranks are. clock: core/clock.py.
    """

    def __init__(
        self,
        spec: GroupSpec,
        executor: Executor,
        listener: GroupListener,
        timeouts: Timeouts,
        clock: RunningClock | None = None,
    ) -> None:
        super().__init__(spec.group, spec.num_ranks, executor, listener, timeouts, clock or RunningClock())
        self._spec = spec
        self._phase: Phase = Resting(self, 0.0)  # until `start`

    @property
    def model(self) -> str:
        """The short name of its model."""
        return self._spec.model.served_as

    @property
    def run(self) -> JobRun | None:
        """The run that the ranks are in, or that is lost with them."""
        return self._phase.run

    # --- what the pool asks for ---

    @transition
    def start(self) -> None:
        """Launch the ranks."""
        self.launch()

    @transition
    def assign(self, job: Job, arguments: dict[str, Any], request_id: str | None = None, alone: bool = False) -> None:
        """Run a job with these arguments, which came by the request of that name; the group must be ready.

        alone: no other job may run while its output is written.
        """
        self.serial = (self.serial + 1) % 2**24
        part = temporary_path(job.output_path, job.id)
        now, pauses = self.clock(), self.clock.long_pauses
        run = JobRun(job.id, self.serial, now, part, arguments, job.deadline, pauses, request_id, alone)
        root, key = job.output_root or "", self._spec.store_key
        inputs = {digest: str(input_path(root, key, digest)) for digest in job.inputs}
        self.ranks.send_all(Run(job.id, self.serial, arguments, job.output_path, request_id, inputs))
        self._enter(Running(self, run))

    @transition
    def stop_run(self, order: StopOrder) -> None:
        """Have the ranks leave the run; after the cancel timeout the group is rebuilt. Of several orders the first
        counts, but for one that ends the ranks at once."""
        if self.run is None:
            return
        if order.at_once:
            self._phase.abandon(order.outcome)
        elif self.run.stop_order is None:
            self.run.stop_order = order
            self.run.cancel_deadline = self.clock() + self.timeouts.cancel
            self.ranks.send(0, Cancel(self.run.serial))

    @transition
    def stop_writing(self, job_id: str, order: StopOrder) -> None:
        """End a job whose output is being written."""
        self.writings.stop(job_id, order)
        self._phase.let_go()

    @transition
    def rebuild(self, cause: str) -> None:
        """Kill the ranks and start others: what went wrong before no longer counts."""
        self.backoff.forget()
        self._phase.rebuild(cause)

    @transition
    def stop(self) -> None:
        """End the ranks: idle ones by themselves, busy ones at once."""
        self.show(GroupState.STOPPING)
        self._phase.stop()

    @property
    def stopped(self) -> bool:
        """No rank is left, and none will come."""
        return isinstance(self._phase, Stopped)

    def view(self) -> GroupView:
        """The group as users see it."""
        job_id = self.run.job_id if self.run else None
        written, ranks = [run.job_id for run in self.writings.live], self.ranks.views()
        return GroupView(self.index, self.state, self.since, ranks, job_id, self.cause or None, written, self.model)

    @transition
    def tick(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        before = len(self.writings.live)
        self.writings.tick(now)
        if len(self.writings.live) < before:
            self._phase.let_go()
        self._phase.tick(now)

    # --- what the executor reports ---

    @transition
    def launched(self, generation: int, handles: list[RankHandle], steps: StepChannel) -> None:
        self._phase.launched(handles, steps)

    @transition
    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        self._phase.launch_failed(SetupFailure.of(0, reason, own_fault, from_outside))

    @transition
    def message(self, generation: int, rank: int, message: FromRank) -> None:
        if generation != self.generation:
            return
        if isinstance(message, Written | Unwritten) and self.writings.end(message):
            self._phase.let_go()
        else:
            self._phase.message(rank, message)

    @transition
    def died(self, generation: int, rank: int, death: ExitInfo) -> None:
        if generation == self.generation:
            self.ranks.slots[rank].alive = False
            self._phase.died(rank, death)

    # --- the moves between phases ---

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        phase.begin()

    def launch(self) -> None:
        self.generation += 1
        self.ranks = Ranks(self.num_ranks)
        self.streak.rebuilt()
        self.launched_at = self.clock()
        self._enter(Launching(self))
        self.changed()
        try:
            self.executor.launch(self.generation, self._spec, self)
        except (OSError, ServerError) as error:
            log.error("ranks cannot be launched", group=self.index, error=str(error))
            self.launch_failed(self.generation, f"ranks cannot be launched ({type(error).__name__})", own_fault=False)

    def wait_for_job(self, damage: str | None = None) -> None:
        self._enter(Waiting(self, damage))

    def leave(self) -> None:
        self._enter(Leaving(self))

    def end_ranks(
        self,
        *,
        verdict: Outcome = None,
        run: JobRun | None = None,
        failure: SetupFailure | None = None,
        launching: bool = False,
    ) -> None:
        self._enter(Ending(self, verdict, run, failure, launching))

    def rest(self, pause: float) -> None:
        self._enter(Resting(self, pause))

    def finish(self) -> None:
        self._enter(Stopped(self))
