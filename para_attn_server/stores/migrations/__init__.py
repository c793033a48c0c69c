"""The schema's history: one Alembic revision per file in `versions/`. Run by `stores/migrate.py` only."""
