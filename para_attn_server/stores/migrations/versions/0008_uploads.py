"""Files that clients have sent, and which jobs use them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """No job has inputs yet: nothing to fill in."""
    op.create_table(
        "uploads",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("width", sa.BigInteger),
        sa.Column("height", sa.BigInteger),
        sa.Column("frames", sa.BigInteger),
        sa.Column("duration", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_steady", sa.Float, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
    )
    op.create_index("uploads_by_digest", "uploads", ["digest"])
    op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
    )
    op.create_index("job_inputs_by_digest", "job_inputs", ["digest"])
