"""Alembic's entry point. The caller gives the connection and owns the transaction; there is no offline mode."""

from alembic import context

from para_attn_server.stores.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
