"""The dialects of the server, one line for each. Its folder has a module `dialect` with `make(service)`.

A dialect's modules are imported here and nowhere else.
"""

from __future__ import annotations

from importlib import import_module

from para_attn_server.http.kit.dialect import Dialects
from para_attn_server.service.service import JobService

DIALECTS = [
    "para_attn_server.http.native",
]
"""The first one has the paths that no other has claimed."""


def load_dialects() -> None:
    """Import them all, so that processes that are forked later share their memory."""
    for folder in DIALECTS:
        import_module(f"{folder}.dialect")


def make_dialects(service: JobService) -> Dialects:
    """All of them over a service."""
    return Dialects([import_module(f"{folder}.dialect").make(service) for folder in DIALECTS])
