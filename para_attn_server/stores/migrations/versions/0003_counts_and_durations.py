"""Moments by the steady clock for durations, counts kept by triggers, an index of deadlines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from para_attn_server.stores.migrations import postgres
from para_attn_server.stores.tables import Whole

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """What ended before has the wall clock's moments for the steady ones."""
    for moment in ("created", "started", "finished"):
        op.add_column("jobs", sa.Column(f"{moment}_steady", sa.Float))
    op.execute(
        "UPDATE jobs SET created_steady = created_at, started_steady = started_at, finished_steady = finished_at"
    )
    op.drop_index("jobs_by_end")
    op.create_index("jobs_by_end", "jobs", ["finished_at", "finished_steady"])
    some = sa.text("deadline IS NOT NULL")
    op.create_index("jobs_by_deadline", "jobs", ["status", "deadline"], sqlite_where=some, postgresql_where=some)
    _count()


def _count() -> None:
    op.create_table(
        "job_counts",
        sa.Column("status", sa.Text, primary_key=True),
        sa.Column("jobs", Whole, nullable=False),
    )
    for status in ("queued", "running", "succeeded", "failed", "canceled"):
        op.execute(f"INSERT INTO job_counts SELECT '{status}', count(*) FROM jobs WHERE status = '{status}'")
    if op.get_context().dialect.name != "sqlite":
        postgres.count_jobs()
        return
    for name, when, change, meant in (
        ("job_inserted", "INSERT", "1", "status = NEW.status"),
        ("job_deleted", "DELETE", "-1", "status = OLD.status"),
        (
            "job_moved",
            "UPDATE OF status",
            "(status = NEW.status) - (status = OLD.status)",
            "status IN (NEW.status, OLD.status)",
        ),
    ):
        op.execute(
            f"CREATE TRIGGER {name} AFTER {when} ON jobs BEGIN "
            f"UPDATE job_counts SET jobs = jobs + {change} WHERE {meant}; END"
        )
