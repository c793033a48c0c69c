"""Rows of the SQL store as the objects that they stand for, and back: by the names of their columns.

The statements are in `statements.py`. Nothing is executed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import PurePath
from typing import Any

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import ANONYMOUS, Job, JobStatus, NewJob, Output, Priority
from para_attn_server.stores.statements import JOB_FIELDS

_ELSEWHERE = {"arguments"}
_STORED = [field.name for field in fields(NewJob) if field.name not in _ELSEWHERE]
_OF_OUTPUT = [field.name for field in fields(Output)]


def row_of(new: NewJob) -> dict[str, Any]:
    """A request's columns of the table of jobs."""
    row = {name: getattr(new, name) for name in _STORED}
    row |= {"priority": int(new.priority), "inputs": list(new.inputs) or None}
    if new.idempotency_key is not None:
        row["idempotency_key"] = owned_key(new.owner, new.idempotency_key)
    return row


def owned_key(owner: str, key: str) -> str:
    """An idempotency key as its unique column has it: two owners may use the same one.

    Nobody's has no owner before it, as in rows of earlier versions. No key has a line break.
    """
    return key if owner == ANONYMOUS else f"{owner}\n{key}"


def job_of(row: Any, outputs: tuple[Output, ...] = ()) -> Job:
    """A job of a row that begins with its columns."""
    values = dict(zip(JOB_FIELDS, row, strict=False))  # row._fields is made anew each time
    values["status"] = JobStatus(values["status"])
    values["priority"] = Priority(values["priority"])
    values["inputs"] = tuple(values["inputs"] or ())
    if values["error"] is not None:
        values["error"] = JobError(**values["error"])
    return Job(**values, outputs=outputs)


def jobs_of(rows: Iterable[Any]) -> list[Job]:
    """The jobs of rows that come in order, each with a row for each of its outputs, or one without any."""
    found = (job_of_all(list(of_job)) for _, of_job in groupby(rows, key=lambda row: row.id))
    return [job for job in found if job is not None]


def job_of_all(rows: Sequence[Any]) -> Job | None:
    """A job of one row for each of its outputs, or of one without any; None of no row."""
    if not rows:
        return None
    if rows[0].path is None:
        return job_of(rows[0])
    root = rows[0].output_root
    return job_of(rows[0], tuple(output_of(root, row) for row in rows))


def output_rows(job: Job) -> list[dict[str, Any]]:
    """The rows of a job's outputs."""
    return [_output_row(job, index, output) for index, output in enumerate(job.outputs)]


def _output_row(job: Job, index: int, output: Output) -> dict[str, Any]:
    row = {name: getattr(output, name) for name in _OF_OUTPUT}
    if job.output_root is not None and PurePath(output.path).is_relative_to(job.output_root):
        row["path"] = str(PurePath(output.path).relative_to(job.output_root))
    return {**row, "job_id": job.id, "output_index": index}


def output_of(root: str | None, row: Any) -> Output:
    """An output of its columns, which are named as its fields are. root: of its job."""
    values = {name: getattr(row, name) for name in _OF_OUTPUT}
    values["path"] = os.path.join(root or "", values["path"])  # noqa: PTH118 - an absolute one stays as it is
    return Output(**values)
