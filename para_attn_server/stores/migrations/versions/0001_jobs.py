"""Jobs, their events, documents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from para_attn_server.stores.migrations import postgres
from para_attn_server.stores.tables import Whole

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "jobs",
        sa.Column("seq", Whole, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("output_path", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("attempts", Whole, nullable=False),
        sa.Column("group_index", Whole),
        sa.Column("step", Whole, nullable=False),
        sa.Column("total_steps", Whole),
        sa.Column("deadline", sa.Float),
        sa.Column("idempotency_key", sa.Text, unique=True),
        sa.Column("request_digest", sa.Text),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("output", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.Column("kwargs", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_status", "jobs", ["status", "seq"])
    op.create_index("jobs_by_end", "jobs", ["finished_at"])
    op.create_table(
        "events",
        sa.Column("id", Whole, primary_key=True),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_index("events_by_job", "events", ["job_id", "id"])
    op.create_table(
        "documents",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
    if op.get_context().dialect.name != "sqlite":
        postgres.note_writers()
