"""The store in a SQL database, through SQLAlchemy Core. Its SQL is in `statements.py`, the same for every database.

Every transition is one guarded UPDATE ... RETURNING and its event in the same transaction. Connections and transactions
are the database's own (`sqlite_handle.py`, `postgres_handle.py`), rows become objects in `sql_rows.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Update

from para_attn_server.core.errors import JobError, QueueFull
from para_attn_server.core.job import Event, Job, JobStatus, NewJob, Output, Removal, Result, RunId
from para_attn_server.stores import refusals
from para_attn_server.stores import statements as sql
from para_attn_server.stores.base import JobFilter, JobStore, LogWrite, OutputTotals, Place, Progress, QueueCounts
from para_attn_server.stores.listing import page
from para_attn_server.stores.prepared import insert, rows
from para_attn_server.stores.refusals import Write, conflict, refused, shown, unknown
from para_attn_server.stores.sql_rows import job_of, job_of_all, jobs_of, output_of, output_rows, owned_key, row_of
from para_attn_server.stores.sql_uploads import SqlUploads, use_uploads
from para_attn_server.stores.sqlite_handle import SqliteHandle

_DELETE_AT_ONCE = 500


class SqlHandle(Protocol):
    """One process's handle on a database: its connections and transactions.

    Whatever keeps it from its work is a StoreUnavailable.
    """

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection for statements that only read; within a transaction, that of the transaction."""

    def writing(self, relaxed: bool = False) -> AbstractContextManager[Connection]:
        """A connection in a transaction, committed at the end and rolled back where anything raises.

        One within another joins it. relaxed: the last second of such writes may be lost with the database's crash.
        """

    def changes(self) -> int:
        """See JobStore."""

    def usable(self) -> None:
        """See JobStore."""

    def heal(self) -> str | None:
        """See JobStore."""

    def close(self) -> None:
        """See JobStore."""


class SqlStore(SqlUploads, JobStore):
    """A JobStore in a SQL database. Safe for the threads or greenlets of a process.

    Nothing is opened before the first call, and a forked process opens its own connection. Every method raises
    StoreUnavailable when the database cannot be used (locked for longer than 5 s, damaged, disk full, not reachable).
    """

    def __init__(self, handle: SqlHandle, steady: Callable[[], float] | None = None) -> None:
        self.handle, self._steady = handle, steady
        self._reading, self._writing = handle.reading, handle.writing

    @classmethod
    def open(cls, path: str | Path, *, durable: bool, steady: Callable[[], float] | None = None) -> SqlStore:
        """The store in that SQLite file, whose schema is already there.

        durable: each write is on disk when its method returns (web workers); else power loss may take the last ones.
        steady: the clock for durations; without it the caller's `now` counts.
        """
        return cls(SqliteHandle(str(path), durable=durable), steady)

    def usable(self) -> None:
        self.handle.usable()

    def heal(self) -> str | None:
        return self.handle.heal()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._writing():
            yield

    def close(self) -> None:
        self.handle.close()

    def _now(self, now: float) -> dict[str, float]:
        return {"now": now, "steady": now if self._steady is None else self._steady()}

    # --- web workers ---

    def insert(self, new: NewJob, max_queued: int, now: float) -> Job:
        steady = self._now(now)["steady"]
        row = {**row_of(new), "created_at": now, "created_steady": steady}
        with self._writing() as connection:
            if new.idempotency_key is not None:
                known = _known_job(connection, row["idempotency_key"], new.request_digest)
                if known is not None:
                    return known
            if rows(connection, sql.COUNT_QUEUED, {})[0].jobs >= max_queued:
                raise QueueFull(max_queued)
            seq = insert(connection, sql.INSERT_JOB, row)
            insert(connection, sql.INSERT_ARGUMENTS, {"job_id": new.id, "arguments": new.arguments})
            use_uploads(connection, new)
            _add_event(connection, new.id, "queued", now, {})
        return new.queued(seq, now, steady)

    def by_key(self, owner: str, idempotency_key: str, request_digest: str) -> Job | None:
        with self._reading() as connection:
            return _known_job(connection, owned_key(owner, idempotency_key), request_digest)

    # --- reading, anybody ---

    def get(self, job_id: str) -> Job | None:
        with self._reading() as connection:
            return _found(connection, job_id)

    def arguments(self, job_id: str) -> dict[str, Any]:
        with self._reading() as connection:
            arguments: dict[str, Any] | None = connection.execute(sql.GET_ARGUMENTS, {"of_job": job_id}).scalar()
        if arguments is None:
            raise unknown(job_id)
        return arguments

    def counts(self) -> QueueCounts:
        with self._reading() as connection:
            found = rows(connection, sql.COUNT_BY_STATUS, {})
        counts = dict.fromkeys(map(str, JobStatus), 0)
        counts.update((status, count) for status, count in found)
        return QueueCounts(**counts)

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        with self._reading() as connection:
            return [Event(*row) for row in connection.execute(sql.EVENTS, {"of_job": job_id, "after": after})]

    def history(self, job_id: str) -> list[Event]:
        with self._reading() as connection:
            return [Event(*row) for row in connection.execute(sql.HISTORY, {"of_job": job_id, "after": 0})]

    def queued(self, limit: int, steady: float = 0.0, after: int = 0) -> list[Job]:
        return self._jobs(sql.QUEUED, {"most": limit, "steady": steady, "after": after})

    def running(self) -> list[Job]:
        return self._jobs(sql.RUNNING, {})

    def mean_seconds(self, last: int = 20) -> float | None:
        with self._reading() as connection:
            mean: float | None = connection.execute(sql.MEAN_SECONDS, {"last": last}).scalar_one()
        return mean

    def ended_before(self, moment: float, limit: int, steady: float | None = None) -> dict[str, tuple[Output, ...]]:
        values = {"moment": moment, "steady": moment if steady is None else steady, "most": limit}
        with self._reading() as connection:
            found = connection.execute(sql.ENDED_BEFORE, values).all()
        outputs: dict[str, tuple[Output, ...]] = {}
        for row in found:
            of_row = () if row.path is None else (output_of(row.output_root, row),)
            outputs[row.job_id] = outputs.get(row.job_id, ()) + of_row
        return outputs

    def with_outputs(self, limit: int, moment: float = math.inf, steady: float = math.inf) -> list[Job]:
        with self._reading() as connection:
            return jobs_of(connection.execute(sql.WITH_OUTPUTS, {"moment": moment, "steady": steady, "most": limit}))

    def listed(self, wanted: JobFilter, limit: int, behind: Place | None = None) -> list[Job]:
        statement, values = page(wanted, limit, behind)
        with self._reading() as connection:
            return jobs_of(connection.execute(statement, values))

    def output_totals(self) -> OutputTotals:
        with self._reading() as connection:
            return OutputTotals(*connection.execute(sql.OUTPUT_TOTALS).one())

    def output_paths(self, last: int) -> list[str]:
        with self._reading() as connection:
            return list(connection.execute(sql.OUTPUT_PATHS, {"last": last}).scalars())

    def changes(self) -> int:
        return self.handle.changes()

    # --- transitions, the controller only ---

    def start(self, job_id: str, group: int, now: float, controller: str | None = None) -> Job:
        values = {**self._now(now), "group": group, "by": controller}
        with self._writing() as connection:
            job = _change(connection, sql.START, job_id, refusals.START, values, None)
            _add_event(connection, job_id, "started", now, {"group": group, "attempt": job.attempts, "run": job.run})
        return job

    def succeed(
        self, job_id: str, result: Result, now: float, progress: Progress | None = None, *, run: RunId | None
    ) -> Job:
        values = {name: getattr(result, name) for name in ("applied", "timings", "peak_memory")}
        values |= {**self._now(now), **_steps(progress), "size": sum(output.size for output in result.outputs)}
        with self._writing() as connection:
            job = _change(connection, sql.SUCCEED, job_id, refusals.SUCCEED, values, run)
            job = dataclasses.replace(job, outputs=result.outputs)
            for row in output_rows(job):
                insert(connection, sql.INSERT_OUTPUTS, row)
            _add_event(connection, job_id, "succeeded", now, shown(result))
        return job

    def fail(
        self, job_id: str, error: JobError, now: float, progress: Progress | None = None, *, run: RunId | None = None
    ) -> Job:
        statement = sql.FAIL_QUEUED if run is None else sql.FAIL_RUNNING
        data = error.as_dict()
        with self._writing() as connection:
            values = {**self._now(now), "cause": data, **_steps(progress)}
            job = _change(connection, statement, job_id, refusals.FAIL, values, run)
            _add_event(connection, job_id, "failed", now, {"error": data})
        return job

    def cancel(self, job_id: str, now: float, progress: Progress | None = None, *, run: RunId | None = None) -> Job:
        statement = sql.CANCEL_QUEUED if run is None else sql.CANCEL_RUNNING
        with self._writing() as connection:
            job = _change(connection, statement, job_id, refusals.CANCEL, {**self._now(now), **_steps(progress)}, run)
            _add_event(connection, job_id, "canceled", now, {})
        return job

    def expire(self, error: JobError, steady: float, now: float, limit: int) -> list[Job]:
        with self._reading() as connection:  # often, and hardly ever with success: no transaction for nothing
            if connection.execute(sql.ANY_EXPIRED, {"passed": steady}).first() is None:
                return []
        data = error.as_dict()
        with self._writing() as connection:
            values = {**self._now(now), "cause": data, "passed": steady, "most": limit}
            ended = [job_of(row) for row in connection.execute(sql.EXPIRE, values)]
            for job in ended:
                _add_event(connection, job.id, "failed", now, {"error": data})
        return ended

    def requeue(self, job_id: str, cause: str, charge: bool, now: float, *, run: RunId | None) -> Job:
        with self._writing() as connection:
            job = _change(connection, sql.REQUEUE, job_id, refusals.REQUEUE, {"uncharged": int(not charge)}, run)
            _add_event(connection, job_id, "requeued", now, {"cause": cause, "charged": charge})
        return job

    # --- further writes, the controller only ---

    def request_cancel(self, job_id: str, now: float, *, run: RunId | None) -> Job:
        with self._writing() as connection:
            known = _found(connection, job_id)
            if known is not None and known.cancel_requested and known.run_id == run is not None:
                return known
            job = _change(connection, sql.REQUEST_CANCEL, job_id, refusals.REQUEST_CANCEL, {}, run)
            _add_event(connection, job_id, "cancel_requested", now, {})
        return job

    def progress(self, job_id: str, step: int, total: int | None, now: float, *, run: RunId | None) -> None:
        with self._writing(relaxed=True) as connection:
            _changed_row(connection, sql.PROGRESS, job_id, refusals.PROGRESS, {"done": step, "total": total}, run)
            _add_event(connection, job_id, "step", now, {"step": step, "total_steps": total})

    def log(self, write: LogWrite) -> list[int]:
        with self._writing(relaxed=True) as connection:
            of_jobs = {row.job_id for row in write.rows}
            known = {job for job in of_jobs if connection.execute(sql.STATUS, {"job_id": job}).first() is not None}
            ids = [
                _add_event(connection, row.job_id, row.type, row.at, row.data) if row.job_id in known else 0
                for row in write.rows
            ]
            for event_id, left_out in write.gaps.items():
                connection.execute(sql.CHANGE_EVENT, {"event_id": event_id, "changed": {"left_out": left_out}})
            if write.removed:
                connection.execute(sql.DELETE_EVENTS, {"event_ids": list(write.removed)})
        return ids

    def log_rows(self, job_id: str, after: int, limit: int) -> list[Event]:
        with self._reading() as connection:
            found = connection.execute(sql.LOG_ROWS, {"of_job": job_id, "after": after, "most": limit})
            return [Event(*row) for row in found]

    def news(self, job_id: str, after: int, limit: int) -> list[Event]:
        with self._reading() as connection:
            found = connection.execute(sql.NEWS, {"of_job": job_id, "after": after, "most": limit})
            return [Event(*row) for row in found]

    def outputs_removed(self, job_ids: list[str], reason: Removal, now: float) -> None:
        with self._writing() as connection:
            values = {"job_ids": job_ids, "reason": reason.value, "now": now}
            removed = connection.execute(sql.OUTPUTS_REMOVED, values).rowcount
            if reason is Removal.EVICTED:
                connection.execute(sql.COUNT_EVICTED, {"more": removed})

    def delete(self, job_ids: list[str]) -> None:
        for first in range(0, len(job_ids), _DELETE_AT_ONCE):
            with self._writing() as connection:
                connection.execute(sql.DELETE_ENDED, {"job_ids": job_ids[first : first + _DELETE_AT_ONCE]})

    # --- documents ---

    def put_document(self, name: str, value: dict[str, Any]) -> None:
        with self._writing() as connection:
            connection.execute(sql.DELETE_DOCUMENT, {"of_name": name})
            connection.execute(sql.INSERT_DOCUMENT, {"name": name, "value": value})

    def document(self, name: str) -> dict[str, Any] | None:
        with self._reading() as connection:
            value: dict[str, Any] | None = connection.execute(sql.GET_DOCUMENT, {"of_name": name}).scalar_one_or_none()
        return value

    def _jobs(self, statement: Any, parameters: dict[str, Any]) -> list[Job]:
        with self._reading() as connection:
            return [job_of(row) for row in connection.execute(statement, parameters)]


def _change(
    connection: Connection, statement: Update, job_id: str, write: Write, values: dict[str, Any], run: RunId | None
) -> Job:
    return job_of(_changed_row(connection, statement, job_id, write, values, run))


def _changed_row(
    connection: Connection, statement: Update, job_id: str, write: Write, values: dict[str, Any], run: RunId | None
) -> Any:
    if run is not None or JobStatus.QUEUED not in write.sources:  # no running job is in the run None
        values = {"of_controller": run and run.controller, "of_run": run and run.number, **values}
    if changed := rows(connection, statement, {"job_id": job_id, **values}):
        return changed[0]
    job = _found(connection, job_id)
    raise unknown(job_id) if job is None else refused(job, write, run)


def _known_job(connection: Connection, key: str, digest: str | None) -> Job | None:
    known = connection.execute(sql.GET_BY_KEY, {"key": key}).first()
    if known is None:
        return None
    job_id, known_digest = known
    if known_digest != digest:
        raise conflict(job_id)
    return _found(connection, job_id)


def _found(connection: Connection, job_id: str) -> Job | None:
    if "\0" in job_id:  # PostgreSQL has no such text
        return None
    return job_of_all(rows(connection, sql.GET_JOB, {"job_id": job_id}))


def _steps(progress: Progress | None) -> dict[str, int | None]:
    done, total = progress or (None, None)
    return {"done": done, "total": total}


def _add_event(connection: Connection, job_id: str, kind: str, now: float, data: dict[str, Any]) -> int:
    return insert(connection, sql.INSERT_EVENT, {"job_id": job_id, "type": kind, "at": now, "data": data})
