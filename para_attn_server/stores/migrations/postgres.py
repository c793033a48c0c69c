"""What the revisions make in PostgreSQL alone: triggers that keep counts and sums, and the table of its writers.

Part of revisions that are released, and so never changed: what must become different is replaced by a new revision.
"""

from __future__ import annotations

from alembic import op

_COUNT = """
CREATE FUNCTION count_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE job_counts SET jobs = jobs - 1 WHERE status = OLD.status;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        UPDATE job_counts SET jobs = jobs + 1 WHERE status = NEW.status;
    END IF;
    RETURN NULL;
END $$
"""
_TOTAL = """
CREATE FUNCTION total_outputs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.output_bytes IS NOT NULL THEN
        UPDATE output_totals SET jobs = jobs - 1, bytes = bytes - OLD.output_bytes;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.output_bytes IS NOT NULL THEN
        UPDATE output_totals SET jobs = jobs + 1, bytes = bytes + NEW.output_bytes;
    END IF;
    RETURN NULL;
END $$
"""


def note_writers() -> None:
    """Of each connection that writes: how often it has. See stores/postgres_handle.py."""
    op.execute(
        "CREATE TABLE writers (id text PRIMARY KEY, handle text NOT NULL, writes bigint NOT NULL, "
        "seen timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 50)"
    )


def count_jobs() -> None:
    """Keep job_counts."""
    op.execute(_COUNT)
    op.execute("CREATE TRIGGER job_inserted AFTER INSERT OR DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION count_jobs()")
    op.execute(
        "CREATE TRIGGER job_moved AFTER UPDATE OF status ON jobs FOR EACH ROW "
        "WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION count_jobs()"
    )


def total_outputs() -> None:
    """Keep output_totals."""
    op.execute(_TOTAL)
    op.execute(
        "CREATE TRIGGER output_changed AFTER UPDATE OF output_bytes ON jobs FOR EACH ROW "
        "EXECUTE FUNCTION total_outputs()"
    )
    op.execute(
        "CREATE TRIGGER output_deleted AFTER DELETE ON jobs FOR EACH ROW "
        "WHEN (OLD.output_bytes IS NOT NULL) EXECUTE FUNCTION total_outputs()"
    )
