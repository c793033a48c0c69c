"""The connection between a controller and its agent: frames on TCP, between two that hold the same secret.

Each end proves that it has the secret without sending it, and each frame carries a code made with it, so that nobody on
the way can add or change one. Nothing is encrypted: what must not be read on the way needs a tunnel.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
import struct
from collections.abc import MutableMapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from para_attn_server.core.errors import UsageError
from para_attn_server.executors.agent.wire import FromAgent, ToAgent, decode, encode

SECRET_VARIABLE, SECRET_FILE_VARIABLE = "PARA_ATTN_AGENT_SECRET", "PARA_ATTN_AGENT_SECRET_FILE"
LARGEST = 64 * 2**20
_LARGEST_UNPROVEN = 4096  # bytes that are read of somebody who has not proved anything
_SHORTEST_SECRET = 16
_HEADER = struct.Struct("!I")
_COUNT = struct.Struct("!Q")
_CODE = 16
CONTROLLER, AGENT = "controller", "agent"


class LinkLost(Exception):
    """There is no connection any more; the message says why."""


class NotTrusted(LinkLost):
    """The other end has another secret or another version."""


def read_secret(environment: MutableMapping[str, str] = os.environ) -> bytes:
    """The secret that a controller and its agent share; taken out of the environment, which ranks inherit.

    Raises UsageError where there is none, or a short one.
    """
    secret, file = environment.pop(SECRET_VARIABLE, ""), environment.pop(SECRET_FILE_VARIABLE, "")
    if not secret and not file:
        raise UsageError(f"executor: set {SECRET_VARIABLE}, or {SECRET_FILE_VARIABLE} to a file that holds the secret")
    if not secret:
        try:
            secret = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise UsageError(f"executor: {SECRET_FILE_VARIABLE}: {file} cannot be read ({reason})") from None
    if len(secret) < _SHORTEST_SECRET:
        raise UsageError(
            f"executor: the agent's secret has fewer than {_SHORTEST_SECRET} characters; make a longer one"
        )
    return secret.encode()


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 address is in brackets. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"executor: {text!r} is not the address of an agent; give HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Link:
    """An end of a connection on which both sides have proved themselves."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sending: bytes, receiving: bytes
    ) -> None:
        self._reader, self._writer = reader, writer
        self._sending, self._receiving = sending, receiving
        self._sent = self._received = 0

    def send(self, message: ToAgent | FromAgent) -> None:
        """Never waits; on a connection that is gone, nothing happens."""
        if not self._writer.is_closing():
            payload = encode(message)
            _write(self._writer, _code(self._sending, self._sent, payload) + payload)
            self._sent += 1

    async def receive(self) -> ToAgent | FromAgent:
        """The next message. Raises LinkLost."""
        frame = await _read(self._reader, LARGEST)
        code, payload = frame[:_CODE], frame[_CODE:]
        if not hmac.compare_digest(code, _code(self._receiving, self._received, payload)):
            raise LinkLost("a frame was changed on its way")
        self._received += 1
        try:
            return decode(payload)
        except ValueError as error:
            raise LinkLost(str(error)) from error

    def close(self) -> None:
        """Send what is left and end."""
        self._writer.close()

    def abort(self) -> None:
        """End at once; `receive` raises LinkLost at both ends."""
        self._writer.transport.abort()


async def connect(host: str, port: int, secret: bytes) -> Link:
    """The controller's end. Raises OSError, LinkLost, or NotTrusted."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        challenge, nonce = await _read_words(reader), secrets.token_hex(32)
        nonces = f"{challenge.get('nonce')}:{nonce}"
        _write_words(writer, version=_version(), nonce=nonce, proof=_proof(secret, CONTROLLER, nonces))
        welcome = await _read_words(reader)
        if "refused" in welcome:
            raise NotTrusted(welcome["refused"])
        if not hmac.compare_digest(welcome.get("proof", ""), _proof(secret, AGENT, nonces)):
            raise NotTrusted("it does not hold the secret")
        return Link(reader, writer, *_keys(secret, nonces, CONTROLLER, AGENT))
    except BaseException:
        writer.transport.abort()
        raise


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes) -> Link:
    """The agent's end. Raises LinkLost, or NotTrusted."""
    nonce = secrets.token_hex(32)
    _write_words(writer, nonce=nonce)
    words = await _read_words(reader)
    nonces = f"{nonce}:{words.get('nonce')}"
    refusal = None
    if not hmac.compare_digest(words.get("proof", ""), _proof(secret, CONTROLLER, nonces)):
        refusal = "the secrets differ"
    elif words.get("version") != _version():
        refusal = f"the agent is version {_version()}, the server {words.get('version')}: install the same"
    if refusal is not None:
        _write_words(writer, refused=refusal)
        raise NotTrusted(refusal)
    _write_words(writer, proof=_proof(secret, AGENT, nonces))
    return Link(reader, writer, *_keys(secret, nonces, AGENT, CONTROLLER))


def _version() -> str:
    return version("para-attn-server")


def _proof(secret: bytes, role: str, nonces: str) -> str:
    return hmac.new(secret, f"proof of {role}:{nonces}".encode(), hashlib.sha256).hexdigest()


def _keys(secret: bytes, nonces: str, *roles: str) -> list[bytes]:
    """A key for the frames of each role, of this connection alone."""
    return [hmac.digest(secret, f"frames of {role}:{nonces}".encode(), "sha256") for role in roles]


def _code(key: bytes, count: int, payload: bytes) -> bytes:
    return hmac.digest(key, _COUNT.pack(count) + payload, "sha256")[:_CODE]


def _write(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(_HEADER.pack(len(frame)) + frame)


def _write_words(writer: asyncio.StreamWriter, **words: str) -> None:
    _write(writer, json.dumps(words).encode())


async def _read(reader: asyncio.StreamReader, largest: int) -> bytes:
    try:
        (size,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if size > largest:
            raise LinkLost("what came is not a frame")
        return await reader.readexactly(size)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise LinkLost("the connection is closed") from error


async def _read_words(reader: asyncio.StreamReader) -> dict[str, Any]:
    """What is said before there is trust: texts by name."""
    try:
        words = json.loads(await _read(reader, _LARGEST_UNPROVEN))
    except (ValueError, RecursionError) as error:
        raise LinkLost("what came is not a frame") from error
    if not isinstance(words, dict) or not all(isinstance(each, str) and each.isascii() for each in words.values()):
        raise LinkLost("what came is not a frame")
    return words
