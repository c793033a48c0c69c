"""A job's events as they come, over as many connections as it takes. What an event is: docs/http-api.md."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from para_attn_server.client.errors import ServerUnavailable
from para_attn_server.client.transport import Transport
from para_attn_server.core.backoff import ExponentialBackoff

_SILENCE = 45.0  # seconds; the server says something every 15
_ENDS = ("succeeded", "failed", "canceled")


def follow(transport: Transport, path: str, after: str | None) -> Iterator[dict[str, Any]]:
    """The events behind that id, until the job has ended. Raises RequestRefused, and ServerUnavailable after retry_for
    seconds without a connection."""
    pauses, heard_at = ExponentialBackoff(0.1, 5.0), time.monotonic()
    while True:
        wait, silent = 0.0, True
        try:
            for event in _events(transport, path, after):
                heard_at, silent = time.monotonic(), False
                if event is not None:
                    pauses.reset()
                    after = event["id"]
                    yield event
                    if event["type"] in _ENDS:
                        return
        except ServerUnavailable as error:
            if not error.again or time.monotonic() - heard_at > transport.retry_for:
                raise
            wait, silent = error.retry_after or 0.0, False
        if silent:  # 204: the last event was seen
            return
        transport.sleep(max(pauses.fail(), wait))


def _events(transport: Transport, path: str, after: str | None) -> Iterator[dict[str, Any] | None]:
    """Those of one connection. None: a sign of life."""
    event_id, data = "", ""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    for line in transport.lines(path, headers, _SILENCE):
        name, _, value = line.partition(":")
        if name == "id":
            event_id = value.strip()
        elif name == "data":
            data = value
        elif not line and data:
            yield _event(event_id, data)
            data = ""
        else:
            yield None


def _event(event_id: str, data: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(data)
    if (base64 := body.pop("base64", None)) is not None:
        body["data"] = b64decode(base64)
    return {"id": event_id, **body}
