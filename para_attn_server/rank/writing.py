"""Writes what runs have returned, each in a thread of its own, while the rank goes on to its next run.

Says of each what became of it, once. Touches neither the step board nor anything of the predictor: both are the next
run's by now. A thread that does not come back (a disk that hangs, a library) is left behind: it ends with the process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

from structlog.contextvars import bound_contextvars

from para_attn_server.core import output
from para_attn_server.core.job import Output
from para_attn_server.core.logs import job_keys
from para_attn_server.core.wire.ranks import FromRank, Run, Unwritten, Written
from para_attn_server.rank.encode.watch import Watch
from para_attn_server.rank.failures import describe, full_text, traceback_for_job
from para_attn_server.rank.outputs import RunOutputs
from para_attn_server.rank.sealing import sealed

log = logging.getLogger(__name__)

NICER_BY = 5
"""How much lower the threads' priority is than that of the next run."""


class Writer:
    """Of rank zero. send: to the controller, from any thread."""

    def __init__(self, send: Callable[[FromRank], None]) -> None:
        self._send = send
        self._cores = os.sched_getaffinity(0)  # of the process: the thread that makes it may be bound later
        self._watches: dict[int, Watch] = {}

    def begin(self, run: Run, files: RunOutputs, step: int, returned_at: float) -> None:
        """Write what `files` holds. step: the last one of the run. returned_at: when predict returned."""
        watch = self._watches[run.serial] = Watch(output.part_folder(run.output_path, run.job_id))
        arguments = (run, files, step, returned_at, watch)
        threading.Thread(target=self._work, args=arguments, name=f"writing {run.job_id}", daemon=True).start()

    def stop(self, serial: int) -> None:
        """Leave what that run has returned; nothing where it is written by now."""
        if (watch := self._watches.get(serial)) is not None:
            watch.stop()

    def _work(self, run: Run, files: RunOutputs, step: int, returned_at: float, watch: Watch) -> None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, self._cores)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + NICER_BY)
        with bound_contextvars(**job_keys(run.job_id, run.request_id)):
            try:
                outputs = _written(run, files, watch)
                message: FromRank = Written(run.serial, outputs, time.perf_counter() - returned_at)
            except BaseException as error:
                message = _unwritten(run, error, step, watch)
        del self._watches[run.serial]
        self._send(message)


def _written(run: Run, files: RunOutputs, watch: Watch) -> tuple[Output, ...]:
    others = files.others()
    files.write(watch)
    outputs = sealed(run, files, others, None, watch)
    watch()
    return outputs


def _unwritten(run: Run, error: BaseException, step: int, watch: Watch) -> Unwritten:
    output.sweep(run.output_path, run.job_id)
    if watch.stopped:  # whatever that has made of the encoder
        return Unwritten(run.serial)
    log.error("what predict() returned cannot be written", extra={"exception": full_text(error)})
    return Unwritten(run.serial, describe(error, 0, step, run.output_path), traceback_for_job(error))
