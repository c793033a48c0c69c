"""A small synchronous client of the server's native dialect.

    with Client("http://127.0.0.1:5000") as client:
        client.generate("circle.png", prompt="a large red circle")

`client.py` knows the JSON shapes, `transport.py` what may be repeated, `errors.py` what is raised.
"""

from __future__ import annotations

from para_attn_server.client.client import Client
from para_attn_server.client.errors import (
    ClientError,
    InvalidArgument,
    JobCanceled,
    JobFailed,
    RequestRefused,
    ServerUnavailable,
    WaitTimedOut,
)
from para_attn_server.client.options import JobFilters, JobOptions

__all__ = [
    "Client",
    "ClientError",
    "InvalidArgument",
    "JobCanceled",
    "JobFailed",
    "JobFilters",
    "JobOptions",
    "RequestRefused",
    "ServerUnavailable",
    "WaitTimedOut",
]
