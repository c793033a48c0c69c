"""What the time of a job's run depends on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Nothing is known of the shape of jobs that are there already."""
    op.add_column("jobs", sa.Column("shape", sa.Text, nullable=False, server_default=""))
