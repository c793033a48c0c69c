"""Gives the outputs of succeeded jobs their names, once their ends are on record.

A rename that the disk refuses is tried again: the job has succeeded, and its output is served from where it is
(http/bodies.py). What nobody renames before the process ends, the next start does (controller/housekeeping.py).
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from para_attn_server.core.job import Output
from para_attn_server.core.logs import job_keys
from para_attn_server.core.output import publish, sweep
from para_attn_server.pool.transitions import Transition

log = structlog.get_logger()


class Publisher:
    """Renames outputs, and remembers those that could not be renamed yet. names: what log lines say of a job."""

    def __init__(self, names: Callable[[str], dict[str, str]] = job_keys) -> None:
        self._names = names
        self._waiting: dict[str, Output] = {}

    def observe(self, transition: Transition) -> None:
        """Now that it is on record how the run ended: no file is there without its job."""
        job = transition.job
        if job.output is not None:
            self.publish(job.id, job.output)
        elif not transition.started:
            sweep(job.output_path, job.id)

    def publish(self, job_id: str, output: Output) -> None:
        """Give it its name now, or as soon as the disk allows."""
        try:
            replaces = publish(output, job_id)
        except FileNotFoundError as error:
            self._waiting.pop(job_id, None)
            log.error(
                "an output was removed before it was renamed",
                **self._names(job_id),
                path=output.path,
                error=str(error),
            )
        except OSError as error:
            if job_id not in self._waiting:
                log.error("cannot rename an output; retrying", **self._names(job_id), error=str(error))
            self._waiting[job_id] = output
        else:
            self._waiting.pop(job_id, None)
            if replaces:
                log.warning("an output has replaced a file", **self._names(job_id), path=output.path)

    def catch_up(self) -> None:
        """Try those again that wait."""
        for job_id, output in list(self._waiting.items()):
            self.publish(job_id, output)
