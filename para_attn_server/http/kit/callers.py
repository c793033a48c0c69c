"""Who sends a request. Nobody has to say: API keys will be read here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import request

from para_attn_server.service.caller import ANONYMOUS_CALLER, Caller

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def caller_of(environ: WSGIEnvironment) -> Caller:
    """Whose request that is."""
    return ANONYMOUS_CALLER


def caller() -> Caller:
    """Whose request the present one is."""
    return caller_of(request.environ)
