"""The store's SQL statements, built once as SQLAlchemy Core objects so that each is compiled only once.

Portable SQL; who executes them, and in which transaction, is `sql.py`'s business. Transitions take their guards
from core.job's table. Parameters: job_id (the job that is meant), now, and those named in each statement.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, bindparam, delete, func, insert, or_, select, update

from para_attn_server.core.job import Job, JobStatus, Output, sources_of
from para_attn_server.stores.base import BESIDE_HISTORY
from para_attn_server.stores.tables import arguments, documents, events, job_counts, jobs, output_totals, outputs

_NAMED_OTHERWISE = {"group": "group_index"}
JOB_FIELDS = tuple(field.name for field in fields(Job) if field.name != "outputs")
"""The fields of a job's columns, which come first in whatever reads jobs."""
JOB_COLUMNS = tuple(jobs.c[_NAMED_OTHERWISE.get(name, name)].label(name) for name in JOB_FIELDS)
OUTPUT_COLUMNS = tuple(outputs.c[field.name] for field in fields(Output))

_IS_QUEUED = jobs.c.status == JobStatus.QUEUED.value


_IS_IN_THIS_RUN = and_(
    jobs.c.status == JobStatus.RUNNING.value,
    jobs.c.run == bindparam("of_run"),
    jobs.c.controller.is_not_distinct_from(bindparam("of_controller")),
)


def _guarded(source: JobStatus, values: dict[str, Any]) -> Update:
    guard = _IS_IN_THIS_RUN if source is JobStatus.RUNNING else jobs.c.status == source.value
    return update(jobs).where(jobs.c.id == bindparam("job_id"), guard).values(values)


def _transition(source: JobStatus, target: JobStatus, values: dict[str, Any]) -> Update:
    assert source in sources_of(target)
    return _guarded(source, {"status": target.value, **values}).returning(*JOB_COLUMNS)


# --- transitions ---

_STARTS_NOW: dict[str, Any] = {"started_at": bindparam("now"), "started_steady": bindparam("steady")}
_ENDS_NOW: dict[str, Any] = {"finished_at": bindparam("now"), "finished_steady": bindparam("steady")}
_DONE: ColumnElement[Any] = func.coalesce(bindparam("done"), jobs.c.step)
_TOTAL: ColumnElement[Any] = func.coalesce(bindparam("total"), jobs.c.total_steps)

START = _transition(
    JobStatus.QUEUED,
    JobStatus.RUNNING,
    {
        **_STARTS_NOW,
        "group_index": bindparam("group"),
        "controller": bindparam("by"),
        "run": jobs.c.run + 1,
        "attempts": jobs.c.attempts + 1,
        "step": 0,
        "total_steps": None,
    },
)
SUCCEED = _transition(
    JobStatus.RUNNING,
    JobStatus.SUCCEEDED,
    {
        **_ENDS_NOW,
        **{name: bindparam(name) for name in ("applied", "timings", "peak_memory")},
        "output_bytes": bindparam("size"),
        "step": func.coalesce(_TOTAL, _DONE),
        "total_steps": _TOTAL,
    },
)
# Many at once, for many deadlines may pass at once; what was queued has no steps.
EXPIRE = (
    update(jobs)
    .where(
        jobs.c.seq.in_(
            select(jobs.c.seq)
            .where(_IS_QUEUED, jobs.c.deadline <= bindparam("passed"))
            .order_by(jobs.c.deadline)
            .limit(bindparam("most"))
        )
    )
    .values({"status": JobStatus.FAILED.value, **_ENDS_NOW, "error": bindparam("cause")})
    .returning(*JOB_COLUMNS)
)
ANY_EXPIRED = select(jobs.c.id).where(_IS_QUEUED, jobs.c.deadline <= bindparam("passed")).limit(1)
_STEPS = {"step": _DONE, "total_steps": _TOTAL}
_FAILS = {**_ENDS_NOW, "error": bindparam("cause"), **_STEPS}
FAIL_RUNNING = _transition(JobStatus.RUNNING, JobStatus.FAILED, _FAILS)
FAIL_QUEUED = _transition(JobStatus.QUEUED, JobStatus.FAILED, _FAILS)
_CANCELS = {**_ENDS_NOW, **_STEPS}
CANCEL_RUNNING = _transition(JobStatus.RUNNING, JobStatus.CANCELED, _CANCELS)
CANCEL_QUEUED = _transition(JobStatus.QUEUED, JobStatus.CANCELED, _CANCELS)
REQUEUE = _transition(
    JobStatus.RUNNING,
    JobStatus.QUEUED,
    {
        "attempts": jobs.c.attempts - bindparam("uncharged"),
        "started_at": None,
        "started_steady": None,
        "group_index": None,
        "controller": None,
        "step": 0,
        "total_steps": None,
    },
)

# --- further writes ---

INSERT_JOB = insert(jobs).values(status=JobStatus.QUEUED.value, attempts=0, step=0, cancel_requested=False)
INSERT_ARGUMENTS = insert(arguments)
INSERT_OUTPUTS = insert(outputs)
INSERT_EVENT = insert(events)
CHANGE_EVENT = update(events).where(events.c.id == bindparam("event_id")).values(data=bindparam("changed"))
DELETE_EVENTS = delete(events).where(events.c.id.in_(bindparam("event_ids", expanding=True)))
REQUEST_CANCEL = _guarded(JobStatus.RUNNING, {"cancel_requested": True}).returning(*JOB_COLUMNS)
PROGRESS = _guarded(JobStatus.RUNNING, {"step": bindparam("done"), "total_steps": bindparam("total")}).returning(
    jobs.c.id
)
OUTPUTS_REMOVED = (
    update(jobs)
    .where(jobs.c.id.in_(bindparam("job_ids", expanding=True)), jobs.c.output_bytes.is_not(None))
    .values(output_bytes=None, outputs_removed_at=bindparam("now"), outputs_removed_for=bindparam("reason"))
)
COUNT_EVICTED = update(output_totals).values(evicted=output_totals.c.evicted + bindparam("more"))
# Told by its end and not by its status: SQLite would look through all rows of these statuses, not for these ids.
DELETE_ENDED = delete(jobs).where(jobs.c.id.in_(bindparam("job_ids", expanding=True)), jobs.c.finished_at.is_not(None))
DELETE_DOCUMENT = delete(documents).where(documents.c.name == bindparam("of_name"))
INSERT_DOCUMENT = insert(documents)

# --- reading ---

GET_BY_KEY = select(jobs.c.id, jobs.c.request_digest).where(jobs.c.idempotency_key == bindparam("key"))
# In one statement, so that no output is read of a job that is removed meanwhile.
GET_JOB = (
    select(*JOB_COLUMNS, *OUTPUT_COLUMNS)
    .select_from(jobs.outerjoin(outputs))
    .where(jobs.c.id == bindparam("job_id"))
    .order_by(outputs.c.output_index)
)
GET_ARGUMENTS = select(arguments.c.arguments).where(arguments.c.job_id == bindparam("of_job"))
STATUS = select(jobs.c.status).where(jobs.c.id == bindparam("job_id"))
COUNT_QUEUED = select(job_counts.c.jobs).where(job_counts.c.status == JobStatus.QUEUED.value)
COUNT_BY_STATUS = select(job_counts.c.status, job_counts.c.jobs)
QUEUED = (
    select(*JOB_COLUMNS)
    .where(_IS_QUEUED, jobs.c.seq > bindparam("after"))
    .where(or_(jobs.c.deadline.is_(None), jobs.c.deadline > bindparam("steady")))
    .order_by(jobs.c.seq)
    .limit(bindparam("most"))
)
RUNNING = select(*JOB_COLUMNS).where(jobs.c.status == JobStatus.RUNNING.value).order_by(jobs.c.started_at, jobs.c.seq)
_ENDED = (
    select(jobs.c.id, jobs.c.output_root, jobs.c.finished_at)
    .where(jobs.c.finished_at < bindparam("moment"), jobs.c.finished_steady < bindparam("steady"))
    .order_by(jobs.c.finished_at)
    .limit(bindparam("most"))
    .subquery()
)
ENDED_BEFORE = (
    select(_ENDED.c.id.label("job_id"), _ENDED.c.output_root, *OUTPUT_COLUMNS)
    .select_from(_ENDED.outerjoin(outputs, outputs.c.job_id == _ENDED.c.id))
    .order_by(_ENDED.c.finished_at, _ENDED.c.id, outputs.c.output_index)
)
_KEPT = (
    select(jobs.c.id)
    .where(
        jobs.c.output_bytes.is_not(None),
        jobs.c.finished_at < bindparam("moment"),
        jobs.c.finished_steady < bindparam("steady"),
    )
    .order_by(jobs.c.finished_at)
    .limit(bindparam("most"))
    .subquery()
)
WITH_OUTPUTS = (
    select(*JOB_COLUMNS, *OUTPUT_COLUMNS)
    .select_from(_KEPT.join(jobs, jobs.c.id == _KEPT.c.id).outerjoin(outputs))
    .order_by(jobs.c.finished_at, jobs.c.id, outputs.c.output_index)
)
OUTPUT_TOTALS = select(output_totals.c.jobs, output_totals.c.bytes, output_totals.c.evicted)
OUTPUT_PATHS = (
    select(jobs.c.output_path)
    .where(jobs.c.finished_at.is_not(None))
    .order_by(jobs.c.finished_at.desc())
    .limit(bindparam("last"))
)
EVENTS = (
    select(events.c.id, events.c.job_id, events.c.type, events.c.at, events.c.data)
    .where(events.c.job_id == bindparam("of_job"), events.c.id > bindparam("after"))
    .order_by(events.c.id)
)
LOG_ROWS = EVENTS.where(or_(events.c.type == "log", events.c.type == "traceback")).limit(bindparam("most"))
NEWS = EVENTS.where(events.c.type != "step").limit(bindparam("most"))
HISTORY = EVENTS.where(events.c.type.not_in(BESIDE_HISTORY))
GET_DOCUMENT = select(documents.c.value).where(documents.c.name == bindparam("of_name"))

# Last in the queue's order, which the index gives; the order of their ends would take a sort of all.
_LAST_SUCCEEDED = (
    select((jobs.c.finished_steady - jobs.c.started_steady).label("seconds"))
    .where(jobs.c.status == JobStatus.SUCCEEDED.value)
    .order_by(jobs.c.seq.desc())
    .limit(bindparam("last"))
    .subquery()
)
MEAN_SECONDS = select(func.avg(_LAST_SUCCEEDED.c.seconds))
