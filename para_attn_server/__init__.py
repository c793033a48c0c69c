"""Serve a diffusers pipeline that runs on several GPUs at once.

What users need is here by its name; `parallel` shares a pipeline between ranks. A name is loaded when it is first used:
ranks and the controller import this package, and must not pay for the client's or the server's imports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from para_attn_server import parallel
    from para_attn_server.client import Client
    from para_attn_server.client.errors import (
        ClientError,
        InvalidArgument,
        JobCanceled,
        JobFailed,
        RequestRefused,
        ServerUnavailable,
        WaitTimedOut,
    )
    from para_attn_server.core.arguments.inputs import AudioInput, ImageInput, VideoInput
    from para_attn_server.core.errors import PortTaken, ServerError, SetupFailed, StateDirError, UsageError
    from para_attn_server.core.predictor import Predictor, TransientError
    from para_attn_server.core.results import Audio, Video
    from para_attn_server.server import ParaAttentionServer
    from para_attn_server.stores.memory import MemoryStore

__version__ = "0.1.0"

_HOMES = {
    "client": ("Client",),
    "client.errors": (
        "ClientError",
        "InvalidArgument",
        "JobCanceled",
        "JobFailed",
        "RequestRefused",
        "ServerUnavailable",
        "WaitTimedOut",
    ),
    "core.arguments.inputs": ("AudioInput", "ImageInput", "VideoInput"),
    "core.errors": ("PortTaken", "ServerError", "SetupFailed", "StateDirError", "UsageError"),
    "core.predictor": ("Predictor", "TransientError"),
    "core.results": ("Audio", "Video"),
    "server": ("ParaAttentionServer",),
    "stores.memory": ("MemoryStore",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [
    "Audio",
    "AudioInput",
    "Client",
    "ClientError",
    "ImageInput",
    "InvalidArgument",
    "JobCanceled",
    "JobFailed",
    "MemoryStore",
    "ParaAttentionServer",
    "PortTaken",
    "Predictor",
    "RequestRefused",
    "ServerError",
    "ServerUnavailable",
    "SetupFailed",
    "StateDirError",
    "TransientError",
    "UsageError",
    "Video",
    "VideoInput",
    "WaitTimedOut",
    "__version__",
    "parallel",
]


def __getattr__(name: str) -> Any:
    if name == "parallel":
        return importlib.import_module("para_attn_server.parallel")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"para_attn_server.{_HOME_OF[name]}"), name)
    except ModuleNotFoundError as error:
        from para_attn_server.core import install

        if not install.missing_for_server():
            raise
        raise ImportError(f"{name} needs what a server needs: {install.extra('server')}") from error
