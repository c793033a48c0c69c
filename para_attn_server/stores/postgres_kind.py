"""The kind of store of `postgresql://` URLs. psycopg and all that needs it is imported at the first use.

Not earlier: gunicorn loads this file before its workers are patched for greenlets, and psycopg chooses at its import
how it waits. The store itself is in `sql.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from para_attn_server.core import install
from para_attn_server.core.errors import UsageError
from para_attn_server.stores.base import StoreKind
from para_attn_server.stores.sql import SqlStore


def _open(place: str, *, durable: bool, steady: Callable[[], float] | None) -> SqlStore:
    _check_installed()
    from para_attn_server.stores.postgres import Address
    from para_attn_server.stores.postgres_handle import PostgresHandle

    return SqlStore(PostgresHandle(Address(_url(place)), durable=durable), steady)


def _prepare(place: str, migrate: bool) -> None:
    _check_installed()
    from para_attn_server.stores.postgres_schema import ensure_schema

    ensure_schema(_url(place), migrate)


def _revision(place: str) -> str | None:
    _check_installed()
    from para_attn_server.stores.postgres_schema import revision_of

    return revision_of(_url(place))


def _url(place: str) -> str:
    return f"postgresql://{place}"


def _check_installed() -> None:
    if find_spec("psycopg") is None:
        raise UsageError(
            f"store: a postgresql:// store needs psycopg, which is not installed: {install.extra('postgres')}"
        )


KIND = StoreKind(_open, _prepare, revision=_revision)
