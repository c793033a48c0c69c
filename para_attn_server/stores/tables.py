"""The store's tables, as SQLAlchemy Core objects. No queries here (`sql.py`), no schema history (`migrations/`).

All times are Unix seconds; those called steady are by the clock that never jumps (core/steady.py), and durations are
differences of them. `jobs.seq` orders the queue; AUTOINCREMENT keeps a number from being given out twice.
"""

from __future__ import annotations

import json
import os
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)

from para_attn_server.core.job import ANONYMOUS, NATIVE

metadata = MetaData()
Whole = BigInteger().with_variant(Integer, "sqlite")
"""A whole number of 64 bits, which SQLite's own have, and its keys that number themselves only by that name."""


class FileName(TypeDecorator[str]):
    """Text; a file's name that is none keeps its bytes, which SQLite lets a column of text hold."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> Any:
        """To the database."""
        if dialect.name != "sqlite":
            return _as_text(value)
        name = os.fsencode(value or "")
        try:
            name.decode()
        except UnicodeDecodeError:
            return name
        return value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """From the database."""
        if dialect.name != "sqlite":
            return _of_text(value)
        return os.fsdecode(value) if isinstance(value, bytes) else value


class AnyText(TypeDecorator[str]):
    """Text with whatever a request may have in it: PostgreSQL's has neither NUL nor half a pair of UTF-16."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> Any:
        """To the database."""
        return value if dialect.name == "sqlite" else _as_text(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """From the database."""
        return value if dialect.name == "sqlite" else _of_text(value)


_ESCAPED = "\ufffe"
"""Begins a text that is written as JSON because it has what no text may have. No character of any script."""


def _as_text(value: str | None) -> str | None:
    if value is None or not (value.startswith(_ESCAPED) or "\0" in value or not _is_unicode(value)):
        return value
    return _ESCAPED + json.dumps(value)


def _of_text(value: str | None) -> str | None:
    return str(json.loads(value[1:])) if value is not None and value.startswith(_ESCAPED) else value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class FileNumber(TypeDecorator[int]):
    """An inode: 64 bits without a sign, of which some file systems set the highest; a database's integers have one."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> Any:
        """To the database."""
        return None if value is None else (value + 2**63) % 2**64 - 2**63

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """From the database."""
        return None if value is None else value % 2**64


class Scalar(TypeDecorator[Any]):
    """Any JSON value, within an object: SQLite makes a number of a text that looks like one, and rounds it when it has
    more than 64 bits. Rows of earlier versions have the value alone."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """To the database."""
        return None if value is None else {"value": value}

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """From the database."""
        return value["value"] if isinstance(value, dict) else value


def _where(condition: str) -> dict[str, Any]:
    """An index of those rows alone."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


jobs = Table(
    "jobs",
    metadata,
    Column("seq", Whole, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("output_path", FileName, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("attempts", Whole, nullable=False),
    Column("group_index", Whole),
    Column("step", Whole, nullable=False),
    Column("total_steps", Whole),
    Column("deadline", Float),
    Column("idempotency_key", AnyText, unique=True),
    Column("request_digest", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("seed", Scalar(none_as_null=True)),
    Column("created_steady", Float),
    Column("started_steady", Float),
    Column("finished_steady", Float),
    Column("output_root", FileName),
    Column("model", FileName),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("owner", AnyText, nullable=False, server_default=ANONYMOUS),
    Column("api", Text, nullable=False, server_default=NATIVE),
    Column("target", Float),
    Column("metadata", JSON(none_as_null=True)),
    Column("webhook", JSON(none_as_null=True)),
    Column("inputs", JSON(none_as_null=True)),
    Column("applied", JSON(none_as_null=True)),
    Column("timings", JSON(none_as_null=True)),
    Column("peak_memory", BigInteger),
    Column("controller", Text),
    Column("run", Whole, nullable=False, server_default="0"),
    Column("output_bytes", BigInteger),
    Column("outputs_removed_at", Float),
    Column("outputs_removed_for", Text),
    Column("shape", AnyText, nullable=False, server_default=""),
    Index("jobs_by_status", "status", "seq"),
    Index("jobs_by_end", "finished_at", "finished_steady"),
    Index("jobs_by_output", "finished_at", "finished_steady", **_where("output_bytes IS NOT NULL")),
    Index("jobs_by_deadline", "status", "deadline", **_where("deadline IS NOT NULL")),
    Index("jobs_by_creation", "created_at", "seq"),
    Index("jobs_by_model", "model", "created_at", "seq"),
    Index("jobs_ended", "status", "created_at", "seq", **_where("finished_at IS NOT NULL")),
    Index("jobs_by_owner", "owner", "created_at", "seq", **_where(f"owner <> '{ANONYMOUS}'")),
    sqlite_autoincrement=True,
)
"""One row per accepted request. What is polled reads a row whole: no column of it is large. output_bytes: of its
outputs, NULL where no file of them is kept. idempotency_key: with its owner (sql_rows.py)."""

outputs = Table(
    "outputs",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("output_index", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("path", FileName, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("duration", Float),
    Column("inode", FileNumber, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
)
"""The outputs of each job that has succeeded, by their place. path: relative to jobs.output_root where below it."""

arguments = Table(
    "arguments",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kwargs", JSON, nullable=False, key="arguments"),
)
"""The arguments of each job. Apart from its row, for they may be megabytes, and SQLite writes a row as a whole."""

uploads = Table(
    "uploads",
    metadata,
    Column("owner", AnyText, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("width", BigInteger),
    Column("height", BigInteger),
    Column("frames", BigInteger),
    Column("duration", Float),
    Column("created_at", Float, nullable=False),
    Column("created_steady", Float, nullable=False),
    Column("used", Boolean, nullable=False),
    Index("uploads_by_digest", "digest"),
)
"""The files that clients have sent. used: a job has taken it, so that it goes with the last one that does."""

job_inputs = Table(
    "job_inputs",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Index("job_inputs_by_digest", "digest"),
)
"""Which jobs use which files: what jobs.inputs lists, to be found by the file."""

job_counts = Table(
    "job_counts", metadata, Column("status", Text, primary_key=True), Column("jobs", Whole, nullable=False)
)
"""How many jobs are in each status: kept by triggers of `jobs`, so that nobody counts all rows."""

output_totals = Table(
    "output_totals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("jobs", Whole, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("evicted", Whole, nullable=False),
)
"""One row: how many jobs have outputs that are kept, of how many bytes (by triggers of `jobs`), and of how many jobs
they were removed for --max-output-bytes."""

events = Table(
    "events",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_by_job", "job_id", "id"),
)
"""The jobs' history; goes with its job."""

documents = Table(
    "documents",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)
"""Named JSON documents: the request schema, versions."""
