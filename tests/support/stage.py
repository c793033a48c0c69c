"""An executor on a loop of its own, in a thread, and a group's part played by a test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving import COUNTING
from waiting import wait_until

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.wire.launch import GroupSpec, ModelSpec
from para_attn_server.core.wire.ranks import Ready, Run
from para_attn_server.executors.base import Executor, ExitInfo, RankHandle, StepChannel

TICK = 0.1


class PlayedGroup:
    """RankEvents that keep what they hear of one launch. Its methods are called from the test's thread."""

    def __init__(self, stage: Stage, generation: int, num_ranks: int) -> None:
        self._stage, self.generation, self.num_ranks = stage, generation, num_ranks
        self.handles: list[RankHandle] = []
        self.steps: StepChannel | None = None
        self.failure: tuple[str, bool, bool] | None = None
        self.messages: list[tuple[int, Any]] = []
        self.deaths: dict[int, ExitInfo] = {}
        self.order: list[str] = []
        self.serial = 0

    # --- what the executor calls, on its loop ---

    def launched(self, generation: int, handles: list[RankHandle], steps: StepChannel) -> None:
        self._hear(generation, "launched")
        self.steps, self.handles = steps, handles

    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        self._hear(generation, "launch_failed")
        self.failure = (reason, own_fault, from_outside)

    def message(self, generation: int, rank: int, message: Any) -> None:
        self._hear(generation, f"message {rank}")
        assert rank not in self.deaths, "a word after the death"
        self.messages.append((rank, message))

    def died(self, generation: int, rank: int, death: ExitInfo) -> None:
        self._hear(generation, f"died {rank}")
        assert rank not in self.deaths, "died twice"
        self.deaths[rank] = death

    def _hear(self, generation: int, what: str) -> None:
        assert threading.get_ident() == self._stage.thread.ident, "called on another thread than the loop's"
        assert generation == self.generation
        self.order.append(what)

    # --- what a test calls ---

    def said(self, kind: type, serial: int | None = None) -> list[Any]:
        """The messages of that kind, of that run."""
        found = [message for _, message in self.messages if isinstance(message, kind)]
        return [message for message in found if serial is None or message.serial == serial]

    def wait_said(self, kind: type, count: int, serial: int | None = None) -> list[Any]:
        """The same, once there are so many."""
        return wait_until(lambda: len(found := self.said(kind, serial)) >= count and found, 30, f"{kind}: {self.order}")

    def run(self, output: Path, **arguments: Any) -> int:
        """Give all ranks a job; the serial of the run."""
        self.serial += 1
        for rank in range(self.num_ranks):
            self.tell(rank, Run(f"job{self.serial}", self.serial, arguments, str(output)))
        return self.serial

    def wait_launched(self) -> PlayedGroup:
        """Itself, once its ranks have been started."""
        wait_until(lambda: self.handles, 60, "the ranks to be started")
        return self

    def wait_ready(self) -> PlayedGroup:
        """Itself, once its ranks are set up."""
        self.wait_launched().wait_said(Ready, self.num_ranks)
        return self

    def wait_dead(self, count: int | None = None) -> dict[int, ExitInfo]:
        """How its ranks have ended."""
        wait_until(lambda: len(self.deaths) >= (count or self.num_ranks), 30, f"the ranks' end: {self.order}")
        return self.deaths

    def tell(self, rank: int, message: Any) -> None:
        """To one rank."""
        self._stage.call(lambda: self.handles[rank].send(message))

    def tell_all(self, message: Any) -> None:
        """To each."""
        for rank in range(self.num_ranks):
            self.tell(rank, message)

    def kill(self) -> dict[int, ExitInfo]:
        """Kill all ranks; how they have ended."""
        for handle in self.handles:
            self._stage.call(handle.kill)
        return self.wait_dead()

    def ask(self, rank: int, what: str) -> Any:
        """Call a handle's method."""
        return self._stage.call(getattr(self.handles[rank], what))

    def progress(self, rank: int) -> Any:
        """What is known of a rank's steps."""
        assert self.steps is not None
        steps = self.steps
        return self._stage.call(lambda: steps.progress(rank))


class Stage:
    """The loop of one executor; ticks as a controller's."""

    def __init__(self, executor: Executor, lock: Path) -> None:
        self.executor = executor
        self._loop, self._generation, self._clock = asyncio.new_event_loop(), 0, RunningClock(TICK)
        self.wrong: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self.wrong.append(context))
        self.thread = threading.Thread(target=self._loop.run_forever, name="stage", daemon=True)
        self.thread.start()
        self.call(lambda: executor.start(self._loop, lock))
        self.call(self._tick)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call it on the loop; what it returns."""

        async def do() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(30)

    def launch(self, num_ranks: int = 2, group: int = 0, model: str = COUNTING) -> PlayedGroup:
        """A group whose ranks are being started."""
        self._generation += 1
        played = PlayedGroup(self, self._generation, num_ranks)
        spec = GroupSpec(ModelSpec(model), group, num_ranks, "info", "json")
        self.call(lambda: self.executor.launch(played.generation, spec, played))
        return played

    def close(self) -> None:
        """End the executor, then the loop."""
        self.call(self.executor.close)
        self.call(lambda: None)
        self._ticking.cancel()
        ends = time.monotonic() + 10
        while self.call(lambda: len(asyncio.all_tasks(self._loop))) > 1 and time.monotonic() < ends:
            pass
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join(10)
        self._loop.close()
        assert not self.wrong, self.wrong

    def _tick(self) -> None:
        self.executor.tick(self._clock())
        self._ticking = self._loop.call_later(TICK, self._tick)
