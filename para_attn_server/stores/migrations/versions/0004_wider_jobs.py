"""What a job is for and what became of it: model, priority, owner, the run, what was applied; several outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from para_attn_server.stores.tables import Whole

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """The output of a job becomes a row of its own. A run that is under way is its job's last attempt."""
    for column in (
        sa.Column("output_root", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.Text, nullable=False, server_default="anonymous"),
        sa.Column("api", sa.Text, nullable=False, server_default="native"),
        sa.Column("target", sa.Float),
        sa.Column("metadata", sa.JSON),
        sa.Column("webhook", sa.JSON),
        sa.Column("inputs", sa.JSON),
        sa.Column("applied", sa.JSON),
        sa.Column("timings", sa.JSON),
        sa.Column("peak_memory", sa.BigInteger),
        sa.Column("controller", sa.Text),
        sa.Column("run", Whole, nullable=False, server_default="0"),
    ):
        op.add_column("jobs", column)
    op.execute("UPDATE jobs SET run = attempts")
    op.create_table(
        "outputs",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("output_index", sa.Integer, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("duration", sa.Float),
        sa.Column("inode", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    )
    if op.get_context().dialect.name == "sqlite":  # no other database had a job then
        _move_outputs()
    op.drop_column("jobs", "output")


def _move_outputs() -> None:
    driver: Any = op.get_bind().connection.driver_connection
    found = driver.execute("SELECT id, output FROM jobs WHERE output IS NOT NULL AND output <> 'null'")
    driver.executemany(
        "INSERT INTO outputs (job_id, output_index, role, path, media_type, size, sha256, inode, mtime_ns) "
        "VALUES (?, 0, 'output', ?, ?, ?, ?, ?, ?)",
        _rows(found),
    )


def _rows(found: Iterable[tuple[str, str]]) -> Iterator[tuple[Any, ...]]:
    # Not in SQL: a path that is no text, and an inode above 2**63, are something else there.
    for job_id, text in found:
        output = json.loads(text)
        name = os.fsencode(output["path"])
        try:
            path: str | bytes = name.decode()
        except UnicodeDecodeError:
            path = name
        inode = (output.get("inode", 0) + 2**63) % 2**64 - 2**63
        yield job_id, path, output["media_type"], output["size"], output["sha256"], inode, output.get("mtime_ns", 0)
