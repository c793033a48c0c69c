"""Rows of the SQL store as the objects that they stand for, and back: by the names of their columns.

No statements here (`statements.py`), and nothing is executed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import PurePath
from typing import Any

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, JobStatus, NewJob, Output, Priority

_ELSEWHERE = {"arguments"}
_STORED = [field.name for field in fields(NewJob) if field.name not in _ELSEWHERE]
_OF_JOB = {field.name for field in fields(Job)}
_OF_OUTPUT = [field.name for field in fields(Output)]


def row_of(new: NewJob) -> dict[str, Any]:
    """A request's columns of the table of jobs."""
    row = {name: getattr(new, name) for name in _STORED}
    row |= {"priority": int(new.priority), "inputs": list(new.inputs) or None}
    return row


def job_of(row: Any) -> Job:
    """A job of its columns, which are named as its fields are; without its outputs."""
    values = {name: value for name, value in zip(row._fields, row, strict=True) if name in _OF_JOB}
    values["status"] = JobStatus(values["status"])
    values["priority"] = Priority(values["priority"])
    values["inputs"] = tuple(values["inputs"] or ())
    if values["error"] is not None:
        values["error"] = JobError(**values["error"])
    return Job(**values)


def job_of_all(rows: Sequence[Any]) -> Job | None:
    """A job of one row for each of its outputs, or of one without any; None of no row."""
    if not rows:
        return None
    job = job_of(rows[0])
    outputs = tuple(output_of(job.output_root, row) for row in rows if row.path is not None)
    return replace(job, outputs=outputs) if outputs else job


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
