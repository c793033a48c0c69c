"""The ranks of one launch at an agent, as the controller holds them: what is sent to them, what is known of them."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from para_attn_server.core.wire.launch import GroupSpec
from para_attn_server.core.wire.ranks import ToRank
from para_attn_server.executors.agent.steps import ReportedSteps
from para_attn_server.executors.agent.wire import (
    Died,
    Kill,
    Launch,
    Launched,
    LaunchFailed,
    OfLaunch,
    RankState,
    RequestStacks,
    Said,
    StepReport,
    Tell,
    ToAgent,
)
from para_attn_server.executors.base import ExitInfo, RankEvents, RankHandle

log = structlog.get_logger()
AGENT_LOST = ExitInfo("ended with its agent", own_fault=False)


class AgentRank:
    """The handle of one rank (see executors/base.py)."""

    def __init__(self, names: tuple[int, int, int], pid: int | None, send: Callable[[ToAgent], None]) -> None:
        self.pid, self._names, self._send = pid, names, send
        self.state = RankState(*names, stopped=False, stacks="")
        self.alive = True

    def send(self, message: ToRank) -> None:
        if self.alive:
            self._send(Tell(*self._names, message))

    def request_stacks(self) -> None:
        self.state = RankState(*self._names, self.state.stopped, "")
        self._send(RequestStacks(*self._names))

    def stacks(self) -> str:
        return self.state.stacks

    def stopped(self) -> bool:
        return self.state.stopped

    def kill(self) -> None:
        if self.alive:
            self._send(Kill(*self._names))


class AgentLaunch:
    """One launch. ordered: the agent has been asked for it. over: none of its ranks is left, nor will one come."""

    def __init__(self, generation: int, spec: GroupSpec, events: RankEvents, send: Callable[[ToAgent], None]) -> None:
        self.generation, self.spec, self._events, self._send = generation, spec, events, send
        self._steps = ReportedSteps(spec.num_ranks)
        self._ranks: list[AgentRank] = []
        self.ordered = self.over = False

    def order(self) -> None:
        """Ask the agent for it."""
        self.ordered = True
        self._send(Launch(self.generation, self.spec))

    def _launched(self, pids: list[int | None]) -> None:
        group = self.spec.group
        self._ranks = [AgentRank((group, self.generation, rank), pid, self._send) for rank, pid in enumerate(pids)]
        self._events.launched(self.generation, list[RankHandle](self._ranks), self._steps)

    def fail(self, reason: str, own_fault: bool = False, from_outside: bool = False) -> None:
        """No rank has been started, and none will be."""
        self.over = True
        self._events.launch_failed(self.generation, reason, own_fault, from_outside)

    def on_message(self, message: OfLaunch) -> None:
        """What the agent reports of it."""
        match message:
            case Launched():
                self._launched(message.pids)
            case LaunchFailed():
                self.fail(message.reason, message.own_fault, message.from_outside)
            case StepReport():
                self._steps.take(message)
            case RankState():
                self._ranks[message.rank].state = message
            case Said():
                self._events.message(self.generation, message.rank, message.message)
            case Died():
                self._die(message.rank, message.death)

    def lose(self) -> None:
        """The agent is gone, and with it whatever it had begun; what it was not asked for yet waits for the next."""
        if self._ranks:
            for rank, each in enumerate(self._ranks):
                if each.alive:
                    self._die(rank, AGENT_LOST)
        elif self.ordered:
            self.fail("the agent was lost")

    def _die(self, rank: int, death: ExitInfo) -> None:
        self._ranks[rank].alive = False
        self.over = not any(each.alive for each in self._ranks)
        self._events.died(self.generation, rank, death)
