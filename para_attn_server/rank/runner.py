"""Runs jobs on one rank: validate, agree with the other ranks, predict, seal, clean up. Says what became of it.

What predict has written itself is sealed here. What it returned is held, and written when the run is over (writing.py).
"""

from __future__ import annotations

import contextlib
import gc
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import Any

import torch
import torch.distributed as dist
from pydantic import BaseModel
from structlog.contextvars import bound_contextvars

from para_attn_server.core import output
from para_attn_server.core.arguments import OUTPUT_PATH
from para_attn_server.core.arguments.model import digest, dumped, parsed, values
from para_attn_server.core.arguments.signature import output_path_type
from para_attn_server.core.job import Output
from para_attn_server.core.logs import job_keys
from para_attn_server.core.predictor import TransientError, output_suffix
from para_attn_server.core.wire.ranks import Canceled, Failed, Finished, FromRank, RankResult, Run, Started
from para_attn_server.core.wire.step_board import REFUSED_ENTRY
from para_attn_server.rank.failures import ArgumentsDiffer, describe, full_text, traceback_for_job
from para_attn_server.rank.hooks import StepHooks
from para_attn_server.rank.inputs import decoded
from para_attn_server.rank.outputs import RunOutputs, check_suffix
from para_attn_server.rank.sealing import sealed
from para_attn_server.rank.step_control import RunCanceled, RunRefused, StepControl
from para_attn_server.rank.writing import Writer

log = logging.getLogger(__name__)


class JobRunner:
    """Runs one job after the other on this rank.

    model: of predict's arguments. control: this rank's step control. send: to the controller. max_pixels: of a
    picture that is decoded.
    """

    def __init__(
        self,
        predictor: Any,
        model: type[BaseModel],
        control: StepControl,
        rank: int,
        send: Callable[[FromRank], None],
        max_pixels: int = 2**26,
    ) -> None:
        self._predictor, self.model, self._control = predictor, model, control
        self._rank, self._send, self._max_pixels = rank, send, max_pixels
        self._compared_by_input: set[str] = set()
        self._path_type = output_path_type(predictor.predict)
        self._hooks = self._new_hooks()
        self.writer = Writer(send)
        self._made_process_group = dist.is_initialized()

    @property
    def connected(self) -> bool:
        """False when the process group that setup() made is gone: a predictor has destroyed it."""
        return dist.is_initialized() or not self._made_process_group

    def run(self, run: Run) -> None:
        """One run, from Run to this rank's terminal message. Never raises what the predictor raises.

        All that this thread logs meanwhile has the names of the job and of its request.
        """
        with bound_contextvars(**job_keys(run.job_id, run.request_id)):
            self._run(run)

    def _run(self, run: Run) -> None:
        self._held: Callable[[], None] | None = None
        result = self._attempt(run)
        if isinstance(result, Failed):
            self._send(result)  # before anything else: others may sit in a collective that this rank has left
        if not isinstance(result, Finished):
            self._clean_up(run)
        self._control.leave()
        if not isinstance(result, Failed):
            self._send(replace(result, connected=self.connected))
        if self._held is not None and isinstance(result, Finished):
            self._held()
        self._held = None

    def _new_hooks(self) -> StepHooks:
        return StepHooks(self._control.pipeline_step, partial(self._control.allows, "a pipeline's steps"))

    def _attempt(self, run: Run) -> RankResult:
        started = time.perf_counter()
        self._hooks = self._new_hooks()
        try:
            finished = self._predict(run, started)
        except RunCanceled:
            return Canceled(run.serial, self._rank, self._control.points)
        except BaseException as error:  # sys.exit() in a predictor, too, ends the job and not the rank
            if self._control.canceled:  # whatever the predictor made of RunCanceled
                return Canceled(run.serial, self._rank, self._control.points)
            return self._failure(run, error)
        return finished

    def _predict(self, run: Run, started: float) -> Finished:
        arguments = self._enter(run)
        if self._rank == 0:
            self._send(Started(run.serial))
        if self._path_type is not None:
            temporary = output.temporary_path(run.output_path, run.job_id, self._rank)
            arguments[OUTPUT_PATH] = self._path_type(temporary)
        if self._rank:  # rank zero has made the job's folder before its entry, which every rank has waited for
            output.prepare_rank(run.output_path, run.job_id, self._rank)
        account, files = self._control.account, RunOutputs(run.output_path, run.job_id, self._rank)
        self._control.outputs = files
        account.begin()
        try:
            with self._hooks.installed(getattr(self._predictor, "pipe", None)):
                returned = [self._predictor.predict(**arguments)]
        finally:
            self._control.returned()
        if self._control.canceled_late():
            raise RunCanceled
        predicted = time.perf_counter()
        held, outputs = self._output(run, files, returned, predicted) if self._rank == 0 else (None, ())
        ended = time.perf_counter()
        finished = Finished(run.serial, self._rank, self._control.points, ended - started, outputs, held=held)
        timings = {**account.timings(), "write": round(ended - predicted, 6)}
        pipe, control = getattr(self._predictor, "pipe", None), self._control
        applied = account.applied(arguments, control.steps, control.num_ranks, pipe)
        return replace(finished, applied=applied, timings=timings, peak_memory=account.peak_memory())

    def _output(
        self, run: Run, files: RunOutputs, returned: list[Any], predicted: float
    ) -> tuple[int | None, tuple[Output, ...]]:
        """On rank zero: the bytes of what is to be written when the run is over, or the outputs that are there.

        What predict has written at output_path goes before what it has returned.
        """
        if returned[0] is None or files.written or self._is_path(returned[0], run):
            return None, sealed(run, files, files.others(), returned[0], self._control.alive)
        held = files.hold(returned)
        self._held = partial(self.writer.begin, run, files, self._control.steps, predicted)
        return held, ()

    def _is_path(self, returned: object, run: Run) -> bool:
        """Whether it is the name of a file, which is nothing to be encoded."""
        temporary = output.temporary_path(run.output_path, run.job_id)
        return isinstance(returned, PurePath) or (isinstance(returned, str) and returned == str(temporary))

    def _enter(self, run: Run) -> dict[str, Any]:
        refusal: BaseException = ArgumentsDiffer()
        arguments: dict[str, Any] = {}
        try:
            model = parsed(self.model, run.arguments)
            if self._path_type is None:
                check_suffix(run.output_path, run.job_id, output_suffix(self._predictor))
            dump, as_they_came = dumped(model, run.arguments)
            self._say_how_compared(as_they_came)
            arguments, entry = decoded(values(model), run.inputs, self._max_pixels), digest(dump, run.output_path)
            if self._rank == 0:
                output.prepare(run.output_path, run.job_id)  # what cannot be written is known before the work
        except BaseException as error:  # a predictor's own validator may raise anything, and on this rank alone
            refusal, entry = error, REFUSED_ENTRY
        try:
            self._control.enter(run.serial, entry)
        except RunRefused:
            pass  # raised below, so that its own cause stays the cause that is logged
        else:
            return arguments
        raise refusal

    def _say_how_compared(self, as_they_came: list[str]) -> None:
        if new := set(as_they_came) - self._compared_by_input:
            self._compared_by_input |= new
            log.warning("arguments not representable in JSON are compared as sent: %s", ", ".join(sorted(new)))

    def _failure(self, run: Run, error: BaseException) -> Failed:
        log.error("job failed on this rank", extra={"exception": full_text(error)})
        points, step = self._control.points, self._control.steps
        told = describe(error, self._rank, step, run.output_path)
        return Failed(run.serial, self._rank, points, told, isinstance(error, TransientError), traceback_for_job(error))

    def _clean_up(self, run: Run) -> None:
        """Leave no half-done state to the next job: hooks and caches of pipelines, memory, the job's folder."""
        own = getattr(self._predictor, "pipe", None)
        for pipe in [own, *(pipe for pipe in self._hooks.called() if pipe is not own)]:
            with _logged("pipeline cleanup failed"):
                if hasattr(pipe, "maybe_free_model_hooks"):
                    pipe.maybe_free_model_hooks()
        with _logged("memory could not be freed"):
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        if self._rank == 0:
            output.sweep(run.output_path, run.job_id)


@contextlib.contextmanager
def _logged(event: str) -> Iterator[None]:
    """A GPU that has failed says so again at each call; the job's own cause has been reported."""
    try:
        yield
    except Exception:
        log.exception(event)
