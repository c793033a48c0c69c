"""The check of a request as the web makes it: that of core/arguments/request.py, which ranks run, too, at setup."""

from __future__ import annotations

from para_attn_server.core.arguments.request import MAX_DEPTH, MAX_PROBLEMS, MAX_VALUES, TOO_MUCH, RequestValidator

__all__ = ["MAX_DEPTH", "MAX_PROBLEMS", "MAX_VALUES", "TOO_MUCH", "RequestValidator"]
