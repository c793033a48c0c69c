"""Has the outputs of succeeded jobs published, once their ends are on record.

How is `outputs/folder.py`'s business. A rename that the disk refuses is tried again: the job has succeeded, and its
output is served from where it is. What nobody renames before the process ends, the next start does
(controller/housekeeping.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from para_attn_server.core.job import Output
from para_attn_server.core.logs import job_keys
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.transitions import Transition

log = structlog.get_logger()


class Publisher:
    """Publishes outputs, and remembers those that could not be renamed yet. names: what log lines say of a job."""

    def __init__(self, folder: OutputFolder, names: Callable[[str], dict[str, str]] = job_keys) -> None:
        self._folder, self._names = folder, names
        self._waiting: dict[str, Sequence[Output]] = {}

    def observe(self, transition: Transition) -> None:
        """Now that it is on record how the run ended: no file is there without its job."""
        job = transition.job
        if job.outputs:
            self.publish(job.id, job.outputs)
        elif not transition.started:
            self._folder.discard(job.id, job.output_path)

    def unfit(self, job_id: str, outputs: Sequence[Output]) -> str | None:
        """Why sealed outputs cannot be published, None when they can; for before the job's end is recorded."""
        return self._folder.unfit(job_id, outputs)

    def publish(self, job_id: str, outputs: Sequence[Output]) -> None:
        """Give them their names now, or as soon as the disk allows."""
        try:
            replaced = self._folder.publish(job_id, outputs)
        except FileNotFoundError as error:
            self._waiting.pop(job_id, None)
            log.error(
                "an output was removed before it was renamed",
                **self._names(job_id),
                path=outputs[0].path,
                error=str(error),
            )
        except OSError as error:
            if job_id not in self._waiting:
                log.error("cannot rename an output; retrying", **self._names(job_id), error=str(error))
            self._waiting[job_id] = outputs
        else:
            self._waiting.pop(job_id, None)
            for path in replaced:
                log.warning("an output has replaced a file", **self._names(job_id), path=path)

    def catch_up(self) -> None:
        """Try those again that wait."""
        for job_id, outputs in list(self._waiting.items()):
            self.publish(job_id, outputs)
