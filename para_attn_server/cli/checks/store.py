"""The check of a job store that is not a file of the state directory: whether it can be reached, and its schema."""

from __future__ import annotations

import os

from para_attn_server.cli.checks.check import Check, ok, problem
from para_attn_server.cli.child import ask
from para_attn_server.core.settings import Settings


def store_checks(settings: Settings) -> list[Check]:
    """Nothing where --store is not given. In a process of its own, which may import a database's driver."""
    if settings.store is None:
        return []
    environment = settings.as_environment(os.environ)
    found = ask("para_attn_server.stores.database", "current", environment=environment)
    if "error" in found:
        return [problem("job store", found["error"], "see stores.md, or choose another --store")]
    if found["revision"] == found["head"]:
        return [ok("job store", f"schema {found['revision']}")]
    has = f"schema {found['revision'] or 'none'}, and this version needs {found['head']}"
    if settings.migrate:
        return [ok("job store", f"{has}: the start migrates it")]
    return [problem("job store", has, "run para-attn-server db upgrade, or leave out --no-migrate")]
