"""Indexes for lists of jobs, newest first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """One for each filter that may leave few of many jobs."""
    op.create_index("jobs_by_creation", "jobs", ["created_at", "seq"])
    op.create_index("jobs_by_model", "jobs", ["model", "created_at", "seq"])
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index("jobs_ended", "jobs", ["status", "created_at", "seq"], sqlite_where=ended, postgresql_where=ended)
    named = sa.text("owner <> 'anonymous'")
    op.create_index("jobs_by_owner", "jobs", ["owner", "created_at", "seq"], sqlite_where=named, postgresql_where=named)
