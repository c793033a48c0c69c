"""The line between a Python program and the controller that it started: one socket, inherited by the controller.

The owner sends the models once; the controller answers with lines of JSON: its `url` when it serves, and the `reason`
for which it ends by itself. The owner's end of file means that the owner is gone, and the controller stops as after
SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import struct
from typing import TextIO

from para_attn_server.core.wire.launch import ServedModel

FD_VARIABLE = "PARA_ATTN_OWNER_FD"
_LENGTH = struct.Struct("!Q")


def send_models(line: socket.socket, models: list[ServedModel]) -> None:
    """The owner's first words. What a spec holds as `pickled` stays closed on the way."""
    payload = pickle.dumps(models)
    line.sendall(_LENGTH.pack(len(payload)) + payload)


def hear(answers: TextIO) -> dict[str, str]:
    """The controller's next words: `url` or `reason`; empty once it has ended.

    The line is reset, not closed, by a controller that has ended without reading the models, and one that is killed may
    leave half a line.
    """
    with contextlib.suppress(ConnectionResetError, ValueError):
        told: dict[str, str] = json.loads(answers.readline())
        return told
    return {}


def tell(line: socket.socket | None, **words: str) -> None:
    """The controller's words to its owner, if it has one that still listens."""
    if line is not None:
        with contextlib.suppress(OSError):
            line.sendall(json.dumps(words).encode() + b"\n")


def inherited_line() -> socket.socket | None:
    """The controller's end, None where no program owns it; not passed on to the controller's own children."""
    fd = os.environ.pop(FD_VARIABLE, None)
    if fd is None:
        return None
    line = socket.socket(fileno=int(fd))
    line.set_inheritable(False)
    return line


def receive_models(line: socket.socket) -> list[ServedModel]:
    """The owner's models; raises EOFError if the owner is gone."""
    with line.makefile("rb") as stream:
        header = stream.read(_LENGTH.size)
        if len(header) < _LENGTH.size:
            raise EOFError("the program that started the server is gone")
        models: list[ServedModel] = pickle.loads(stream.read(_LENGTH.unpack(header)[0]))
        return models
