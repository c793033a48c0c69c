"""Whether the files of a job's outputs are kept, and of how many bytes they are; totals kept by triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from para_attn_server.stores.migrations import postgres
from para_attn_server.stores.tables import Whole

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Every output is kept until now. Triggers come last: they would count what is counted here."""
    op.add_column("jobs", sa.Column("output_bytes", sa.BigInteger))
    op.add_column("jobs", sa.Column("outputs_removed_at", sa.Float))
    op.add_column("jobs", sa.Column("outputs_removed_for", sa.Text))
    size = "(SELECT sum(size) FROM outputs WHERE outputs.job_id = jobs.id)"
    op.execute(f"UPDATE jobs SET output_bytes = {size} WHERE status = 'succeeded'")
    op.create_index(
        "jobs_by_output",
        "jobs",
        ["finished_at", "finished_steady"],
        sqlite_where=sa.text("output_bytes IS NOT NULL"),
        postgresql_where=sa.text("output_bytes IS NOT NULL"),
    )
    op.create_table(
        "output_totals",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("jobs", Whole, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("evicted", Whole, nullable=False),
    )
    op.execute("INSERT INTO output_totals SELECT 1, count(output_bytes), coalesce(sum(output_bytes), 0), 0 FROM jobs")
    if op.get_context().dialect.name != "sqlite":
        postgres.total_outputs()
        return
    op.execute(
        "CREATE TRIGGER output_changed AFTER UPDATE OF output_bytes ON jobs BEGIN UPDATE output_totals SET "
        "jobs = jobs + (NEW.output_bytes IS NOT NULL) - (OLD.output_bytes IS NOT NULL), "
        "bytes = bytes + coalesce(NEW.output_bytes, 0) - coalesce(OLD.output_bytes, 0); END"
    )
    op.execute(
        "CREATE TRIGGER output_deleted AFTER DELETE ON jobs WHEN OLD.output_bytes IS NOT NULL BEGIN "
        "UPDATE output_totals SET jobs = jobs - 1, bytes = bytes - OLD.output_bytes; END"
    )
