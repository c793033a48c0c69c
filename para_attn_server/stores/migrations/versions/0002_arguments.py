"""The arguments of a job in a table of their own: its row is read and written many times without them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Move jobs.kwargs to arguments; the seed, which every status shows, stays in the row."""
    op.create_table(
        "arguments",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("kwargs", sa.JSON, nullable=False),
    )
    op.execute("INSERT INTO arguments SELECT id, kwargs FROM jobs")
    op.add_column("jobs", sa.Column("seed", sa.JSON))
    if op.get_context().dialect.name == "sqlite":  # no other database had a job then
        op.execute("UPDATE jobs SET seed = nullif(json_quote(json_extract(kwargs, '$.seed')), 'null')")
    op.drop_column("jobs", "kwargs")
