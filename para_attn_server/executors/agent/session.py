"""The agent's end: what it does for one controller, by the local executor, until that controller is gone.

Then all ranks are killed and waited for, whatever they do: the controller counts them as dead, and nobody else may find
their devices taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import structlog

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.errors import ServerError
from para_attn_server.core.wire.launch import GroupSpec
from para_attn_server.core.wire.ranks import FromRank
from para_attn_server.executors.agent.link import Link, LinkLost
from para_attn_server.executors.agent.steps import StepReporter
from para_attn_server.executors.agent.wire import (
    AbortLaunch,
    Alive,
    Died,
    FromAgent,
    Kill,
    Launch,
    Launched,
    LaunchFailed,
    RankState,
    RequestStacks,
    Said,
    Tell,
    ToAgent,
)
from para_attn_server.executors.base import ExecutorOptions, ExitInfo, RankHandle, StepChannel
from para_attn_server.executors.local import LocalExecutor

log = structlog.get_logger()

REPORT_EVERY, ALIVE_EVERY = 0.05, 1.0
"""Seconds between two reports of steps, and between two signs of life and looks at each process."""
LOOK_CLOSELY = 2.0
"""Seconds for which a rank's process is looked at with each report once its stacks are asked for."""
KILL_EVERY = 5.0
"""Seconds between two kills of ranks that do not end."""


class Session:
    """One controller's. controller_timeout: seconds without a word after which it counts as gone. Raises UsageError."""

    def __init__(self, link: Link, options: ExecutorOptions, lock: Path, controller_timeout: float) -> None:
        self._link, self._lock, self._controller_timeout = link, lock, controller_timeout
        self._executor = LocalExecutor(options)
        self._clock = RunningClock(REPORT_EVERY)
        self._heard_at = self._clock()
        self._launches: dict[int, LaunchHere] = {}  # by group
        self._started = False
        self.ranks = self._executor.ranks

    async def run(self) -> None:
        """Until the controller is gone, and all that it had started."""
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                message = await self._link.receive()
                self._heard_at = self._clock()
                self._obey(message)
        except LinkLost as error:
            log.info("the controller is gone", reason=str(error), groups=len(self._launches))
        finally:
            ticking.cancel()
            self._link.close()
            await self._end()

    def end(self) -> None:
        """The agent ends."""
        self._link.abort()

    def _obey(self, message: ToAgent | FromAgent) -> None:
        match message:
            case Launch(generation, spec):
                self._launch(generation, spec)
            case AbortLaunch():
                if self._started:
                    self._executor.abort_launch()
            case Tell() | Kill() | RequestStacks():
                launch = self._launches.get(message.group)
                if launch is not None and launch.generation == message.generation:
                    launch.obey(message, self._clock())

    def _launch(self, generation: int, spec: GroupSpec) -> None:
        launch = LaunchHere(generation, spec, self._link)
        try:
            if not self._started:
                self._executor.start(asyncio.get_running_loop(), self._lock)
                self._started = True
            self._executor.launch(generation, spec, launch)
        except (OSError, ServerError) as error:
            log.error("ranks cannot be launched", group=spec.group, error=str(error))
            launch.launch_failed(generation, f"ranks cannot be launched ({type(error).__name__})", own_fault=False)
        else:
            self._launches[spec.group] = launch

    async def _tick(self) -> None:
        look_at = 0.0
        while True:
            now = self._clock()
            try:
                self._report(now)
                if now >= look_at:
                    look_at = now + ALIVE_EVERY
                    self._look(now)
            except Exception:
                log.exception("unhandled error in the agent's loop")
            await asyncio.sleep(REPORT_EVERY)

    def _report(self, now: float) -> None:
        for launch in self._launches.values():
            launch.report(now)
        if now - self._heard_at > self._controller_timeout:
            log.error("the controller shows no sign of life", seconds=self._controller_timeout)
            self._link.abort()

    def _look(self, now: float) -> None:
        self._link.send(Alive())
        for launch in self._launches.values():
            launch.look(launch.ranks)
        if self._started:
            self._executor.tick(now)

    async def _end(self) -> None:
        if any(launch.under_way for launch in self._launches.values()):
            self._executor.abort_launch()
        kill_at = begun = self._clock()
        while left := [launch for launch in self._launches.values() if not launch.over]:
            if (now := self._clock()) >= kill_at:
                kill_at = now + KILL_EVERY
                for launch in left:
                    launch.kill()
                if now - begun > KILL_EVERY:
                    log.error("ranks do not end", groups=[launch.group for launch in left])
            await asyncio.sleep(REPORT_EVERY)
        if self._started:
            self._executor.close()


class LaunchHere:
    """One launch, and what is said of it to the controller; the RankEvents of the local executor."""

    def __init__(self, generation: int, spec: GroupSpec, link: Link) -> None:
        self.generation, self.group, self._num_ranks, self._link = generation, spec.group, spec.num_ranks, link
        self._names = (self.group, generation)
        self.ranks: dict[int, RankHandle] = {}  # those that live
        self.under_way, self.over, self._ended = True, False, False
        self._steps: StepReporter | None = None
        self._states: dict[int, RankState] = {}
        self._look_closely: dict[int, float] = {}  # until when, by rank

    def obey(self, order: Tell | Kill | RequestStacks, now: float) -> None:
        """An order for a rank; one that is dead needs none."""
        handle = self.ranks.get(order.rank)
        match order:
            case _ if handle is None:
                pass
            case Tell():
                handle.send(order.message)
            case Kill():
                handle.kill()
            case RequestStacks():
                handle.request_stacks()
                self._states.pop(order.rank, None)
                self._look_closely[order.rank] = now + LOOK_CLOSELY

    def kill(self) -> None:
        """All that live, and those that come."""
        self._ended = True
        for handle in self.ranks.values():
            handle.kill()

    def report(self, now: float) -> None:
        """What is new on the step board, and of ranks whose stacks are asked for."""
        self._report_steps()
        self._look_closely = {rank: until for rank, until in self._look_closely.items() if now < until}
        self.look(self._look_closely)

    def look(self, ranks: Iterable[int]) -> None:
        """Report what is new of these ranks' processes."""
        for rank in ranks:
            if (handle := self.ranks.get(rank)) is not None:
                state = RankState(*self._names, rank, handle.stopped(), handle.stacks())
                if state != self._states.get(rank):
                    self._states[rank] = state
                    self._link.send(state)

    def _report_steps(self) -> None:
        if self._steps is not None:
            for report in self._steps.changes():
                self._link.send(report)

    # --- what the local executor reports ---

    def launched(self, generation: int, handles: list[RankHandle], steps: StepChannel) -> None:
        self.under_way = False
        self.ranks = dict(enumerate(handles))
        if self._ended:
            self.kill()
        self._steps = StepReporter(*self._names, self._num_ranks, steps)
        self._link.send(Launched(*self._names, [handle.pid for handle in handles]))

    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        self.under_way, self.over = False, True
        self._link.send(LaunchFailed(*self._names, reason, own_fault, from_outside))

    def message(self, generation: int, rank: int, message: FromRank) -> None:
        self._report_steps()  # a rank's last steps come before its last word
        self._link.send(Said(*self._names, rank, message))

    def died(self, generation: int, rank: int, death: ExitInfo) -> None:
        del self.ranks[rank]
        self.over = not self.ranks
        self._report_steps()
        self._link.send(Died(*self._names, rank, death))
