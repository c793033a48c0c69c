"""`python -m para_attn_server.controller.trial`: one run of a predictor on one group of ranks, without a server.

Settings come from the environment. On stdout it says what happens, one JSON object a line: `ready` once the ranks are
set up, then `step` and `log`, at last `outputs` or `error`. On stdin it reads one line: the arguments, the files
among them, and the name of the output. Its end ends the ranks. Nothing is queued, nothing is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from para_attn_server.controller.model_identity import served_models
from para_attn_server.core.errors import JobError, ServerError, UsageError
from para_attn_server.core.job import Output
from para_attn_server.core.lock import LOCK_NAME, StateDirLock
from para_attn_server.core.logs import configure_logging
from para_attn_server.core.output import dated
from para_attn_server.core.settings import Settings, load_settings
from para_attn_server.core.wire.launch import GroupSpec, ServedModel
from para_attn_server.core.wire.ranks import (
    Emit,
    Failed,
    Finished,
    FromRank,
    Log,
    Ready,
    Run,
    SetupError,
    Step,
    Stop,
    Unwritten,
    Written,
)
from para_attn_server.executors.base import Executor, ExecutorOptions, ExitInfo, RankHandle, StepChannel
from para_attn_server.executors.open import open_executor
from para_attn_server.outputs.folder import output_folder
from para_attn_server.pool.results import mismatch_of

TICK = 0.1
LEAVE_WITHIN = 2.0
"""Seconds that the other ranks have to leave a run after one has failed."""
STOP_WITHIN = 15.0
"""Seconds that idle ranks have to end by themselves, their teardown() included."""
Say = Callable[..., None]


class TrialFailed(Exception):
    """The trial has ended without an output. words: `error` (a line for people) and what else is known."""

    def __init__(self, error: str, **words: Any) -> None:
        super().__init__(error)
        self.words = {"error": error, **words}


class Trial:
    """The RankEvents of one launch, and what is done with them."""

    def __init__(self, executor: Executor, spec: GroupSpec, say: Say) -> None:
        self._executor, self._spec, self._say = executor, spec, say
        self._handles: list[RankHandle] = []
        self._ready: dict[int, Ready] = {}
        self._finished: dict[int, Finished] = {}
        self._failed: list[Failed] = []
        self._written: Written | Unwritten | None = None
        self._alive = spec.num_ranks
        self._emitted = b""  # of an event that comes in pieces
        self._trouble: TrialFailed | None = None
        self._ended = False

    # --- what the executor reports ---

    def launched(self, generation: int, handles: list[RankHandle], steps: StepChannel) -> None:
        self._handles = handles

    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        self._alive = 0
        self._fail(TrialFailed(reason, setup=True))

    def message(self, generation: int, rank: int, message: FromRank) -> None:
        match message:
            case Ready():
                self._ready[rank] = message
            case SetupError():
                words = f"setup failed on rank {rank}: {message.message}"
                words = message.message.removeprefix("UsageError: ") if message.usage else words
                self._fail(TrialFailed(words, setup=True, usage=message.usage, traceback=message.traceback))
            case Step():
                self._say(step=message.step, total_steps=message.total)
            case Log():
                self._say(log=message.lines)
            case Emit():
                self._emitted += message.data
                if not message.more:
                    shown = f"{len(self._emitted)} bytes" if message.binary else self._emitted.decode()
                    self._say(log=[f"emitted {message.kind}: {shown:.200}"])
                    self._emitted = b""
            case Finished():
                self._finished[rank] = message
            case Failed():
                self._failed.append(message)
            case Written() | Unwritten():
                self._written = message

    def died(self, generation: int, rank: int, death: ExitInfo) -> None:
        self._alive -= 1
        if not self._ended:
            hint = f"; {death.hint}" if death.hint else ""
            self._fail(TrialFailed(f"rank {rank} {death.how}{hint}", setup=not self._finished and not self._ready))

    def _fail(self, trouble: TrialFailed) -> None:
        if not self._ended:  # another rank may say the same a moment later
            self._trouble = self._trouble or trouble

    # --- what is done ---

    async def set_up(self, timeout: float) -> Ready:
        """Start the ranks; what rank zero has said of the predictor. Raises TrialFailed."""
        self._executor.launch(1, self._spec, self)
        if not await self._until(lambda: len(self._ready) == self._spec.num_ranks, timeout):
            raise TrialFailed(f"the ranks were not set up within {timeout:g} s", setup=True)
        return self._ready[0]

    async def run(
        self, job_id: str, arguments: dict[str, Any], output_path: Path, inputs: dict[str, str]
    ) -> tuple[Output, ...]:
        """Run predict on all ranks; rank zero's outputs. Raises TrialFailed."""
        for handle in self._handles:
            handle.send(Run(job_id, 1, arguments, str(output_path), inputs=inputs))
        await self._until(lambda: bool(self._failed) or len(self._finished) == self._spec.num_ranks)
        if self._failed:
            count = self._spec.num_ranks
            await self._until(lambda: len(self._failed) + len(self._finished) == count, LEAVE_WITHIN)
            raise _failure(min(self._failed, key=lambda each: each.error.type == "arguments_mismatch"))
        finished = [self._finished[rank] for rank in sorted(self._finished)]
        if (error := mismatch_of(finished)) is not None:
            raise TrialFailed(_words(error))
        if finished[0].held is None:
            return finished[0].outputs
        await self._until(lambda: self._written is not None)
        if isinstance(self._written, Written):
            return self._written.outputs
        assert self._written is not None and self._written.error is not None
        raise TrialFailed(_words(self._written.error), traceback=self._written.traceback)

    async def end(self) -> None:
        """End the ranks: by themselves where they are idle."""
        idle = len(self._finished) == self._spec.num_ranks and self._trouble is None
        self._ended, self._trouble = True, None
        for handle in self._handles:
            if idle:
                handle.send(Stop())
            else:
                handle.kill()
        if self._handles and not await self._until(lambda: not self._alive, STOP_WITHIN):
            for handle in self._handles:
                handle.kill()

    async def _until(self, done: Callable[[], bool], timeout: float = float("inf")) -> bool:
        """Wait for a condition; False if that takes too long. Raises TrialFailed where something has gone wrong."""
        ends = time.monotonic() + timeout
        ticked = 0.0
        while not done():
            if self._trouble is not None:
                raise self._trouble
            now = time.monotonic()
            if now >= ends:
                return False
            if now >= ticked + TICK:
                ticked = now
                self._executor.tick(now)
            await asyncio.sleep(0.01)
        return True


def _failure(failed: Failed) -> TrialFailed:
    return TrialFailed(_words(failed.error), traceback=failed.traceback)


def _words(error: JobError) -> str:
    where = "" if error.rank is None else f" (rank {error.rank}{f', after step {error.step}' if error.step else ''})"
    return f"{error.type}: {error.message}{where}{f'; {error.hint}' if error.hint else ''}"


async def _serve(settings: Settings, models: list[ServedModel], executor: Executor, say: Say) -> dict[str, Any]:
    """The last words."""
    executor.start(asyncio.get_running_loop(), settings.state_dir / LOCK_NAME)
    (model,) = models
    # An error is said with its traceback: the log of each rank need not have it too.
    level = "critical" if settings.log_level == "error" else settings.log_level
    spec = GroupSpec(model.spec, 0, executor.ranks[0], level, "console", settings.max_pixels)
    trial = Trial(executor, spec, say)
    try:
        return await _tried(trial, settings, executor.ranks[0], say)
    except TrialFailed as failed:
        return failed.words
    finally:
        await trial.end()
        executor.close()


async def _tried(trial: Trial, settings: Settings, ranks: int, say: Say) -> dict[str, Any]:
    orders = _follow_stdin()
    ready = await trial.set_up(settings.setup_timeout)
    say(ready=ready.schema, ranks=ranks, device=ready.device)
    asked = json.loads(await asyncio.to_thread(orders.get))
    job_id, root = uuid.uuid4().hex, settings.output_dir.resolve()
    path = root / asked["name"] if asked["name"] else dated(root, time.time(), job_id + ready.output_suffix)
    outputs = await trial.run(job_id, asked["arguments"], path, asked["inputs"])
    output_folder(settings).publish(job_id, outputs)
    return {"job_id": job_id, "outputs": [each.path for each in outputs]}


def _follow_stdin() -> queue.SimpleQueue[str]:
    """The lines that come. At their end whoever started this wants no more, or is gone; with this process all ranks
    end."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def follow() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    return lines


def main() -> int:
    """One trial; 0 where it has made an output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for whoever started this: it closes stdin
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a predictor prints

    def say(**words: Any) -> None:
        with contextlib.suppress(OSError):
            answer.write(json.dumps(words) + "\n")
            answer.flush()

    try:
        settings = load_settings()
        configure_logging(settings.log_level, "console", "try")
        models = served_models(settings)
        executor = open_executor(settings.executor, ExecutorOptions.of(settings, models[0].groups))
        settings.output_dir.mkdir(parents=True, exist_ok=True)
        with StateDirLock(settings.state_dir):
            last = asyncio.run(_serve(settings, models, executor, say))
    except ServerError as error:
        last = {"error": str(error), "usage": isinstance(error, UsageError)}
    say(**last)
    return 1 if "error" in last else 0


if __name__ == "__main__":
    sys.exit(main())
