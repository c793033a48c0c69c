"""The jobs that run by the store's record, as far as the loop has heard."""

from __future__ import annotations

from para_attn_server.core.job import Job, RunId
from para_attn_server.pool.transitions import Transition


class RunningJobs(dict[str, Job]):
    """By their ids."""

    def observe(self, transition: Transition) -> None:
        """Keep in step with what is on record."""
        job = transition.job
        if transition.started:
            self[job.id] = job
        else:
            self.pop(job.id, None)

    def run_of(self, job_id: str) -> RunId | None:
        """The run that the job is in; what is written without one is refused."""
        job = self.get(job_id)
        return None if job is None else job.run_id
