"""Opens a store by its URL. The kinds of stores are listed here; each is in a file of its own.

Nothing here knows what a kind does. A kind's file is imported at its first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from para_attn_server.core.errors import UsageError
from para_attn_server.stores.base import JobStore, StoreKind

KINDS = {
    "memory": "para_attn_server.stores.memory",
    "postgres": "para_attn_server.stores.postgres_kind",
    "postgresql": "para_attn_server.stores.postgres_kind",
    "sqlite": "para_attn_server.stores.sqlite_kind",
}
"""By the scheme of its URL: the module that has a StoreKind named KIND."""


def open_store(url_or_path: str | Path, *, durable: bool, steady: Callable[[], float] | None = None) -> JobStore:
    """A handle on the store at that URL; a path is that of a SQLite file. Raises UsageError where it names no store.

    durable: each write is on disk when its method returns (web workers); else power loss may take the last ones.
    steady: the clock for durations; without it the caller's `now` counts.
    """
    kind, place = find_kind(url_or_path)
    return kind.open(place, durable=durable, steady=steady)


def prepare_store(url_or_path: str | Path, migrate: bool = True) -> None:
    """Make it ready to be opened: the controller, before anybody has it open. migrate: whether its schema may be
    changed. Raises StoreUnavailable."""
    kind, place = find_kind(url_or_path)
    kind.prepare(place, migrate)


def store_revision(url_or_path: str | Path) -> str | None:
    """The revision of its schema, None where it has none. Raises StoreUnavailable."""
    kind, place = find_kind(url_or_path)
    return kind.revision(place)


def store_notices(url_or_path: str | Path) -> list[str]:
    """What an operator must know of it: what was lost, what was kept."""
    kind, place = find_kind(url_or_path)
    return kind.notices(place)


def find_kind(url_or_path: str | Path) -> tuple[StoreKind, str]:
    """The kind of the store at that URL, and its place: what follows `scheme://`."""
    url = str(url_or_path)
    if isinstance(url_or_path, Path) or "://" not in url:
        url = f"sqlite:///{url}"
    scheme, _, place = url.partition("://")
    if scheme not in KINDS:
        known = " or ".join(f"{name}://" for name in sorted(KINDS))
        raise UsageError(f"no store has a URL that begins with {scheme}://; use a path, or a URL with {known}")
    kind: StoreKind = importlib.import_module(KINDS[scheme]).KIND
    return kind, place
