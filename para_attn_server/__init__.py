"""Serve a diffusers pipeline that runs on several GPUs at once.

The names below are loaded when they are first used: ranks and the controller import this package, and must not pay for
the client's or the server's imports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from para_attn_server.client import Client
    from para_attn_server.core.predictor import Predictor, TransientError
    from para_attn_server.core.results import Audio, Video
    from para_attn_server.server import ParaAttentionServer
    from para_attn_server.stores.memory import MemoryStore

__version__ = "0.1.0"
__all__ = [
    "Audio",
    "Client",
    "MemoryStore",
    "ParaAttentionServer",
    "Predictor",
    "TransientError",
    "Video",
    "__version__",
]

_HOMES = {
    "Audio": "para_attn_server.core.results",
    "Client": "para_attn_server.client",
    "MemoryStore": "para_attn_server.stores.memory",
    "ParaAttentionServer": "para_attn_server.server",
    "Predictor": "para_attn_server.core.predictor",
    "TransientError": "para_attn_server.core.predictor",
    "Video": "para_attn_server.core.results",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
