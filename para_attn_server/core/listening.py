"""The server's listening socket: the controller opens it, doctor tries whether it can be opened."""

from __future__ import annotations

import errno
import socket


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections at that address. Raises OSError, which `advice` has an answer to."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def advice(error: OSError) -> str:
    """What to do where `listen` has failed."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "choose another --host: an address of this machine, or 0.0.0.0 for all of them"
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges: choose another --port"
    return "stop what listens there (another para-attn-server?), or choose another --port"
