"""The life of uploaded files in a local folder: received under a temporary name, then kept by their digest.

    receive   under a temporary name, with their size and digest    a web worker
    place     the name by their digest                              a web worker, once they are on record
    unlink    their end                                             the controller, within a write of the store

They are below the output root (core/uploads.py). No file is opened by a name that a client has chosen, and none is
served. It knows of no store: who keeps which upload is on record there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from para_attn_server.core.disk import free_bytes
from para_attn_server.core.errors import InsufficientStorage, NotAccepting, UploadTooLarge
from para_attn_server.core.media import Media, read_header
from para_attn_server.core.settings import Settings
from para_attn_server.core.uploads import FOLDER, input_path

_PART = re.compile(r"\.[0-9a-f]{32}\.part")
LEFT_BEHIND = 3600.0
"""Seconds after which a file under a temporary name is a killed web worker's."""


@dataclass(frozen=True, slots=True)
class Received:
    """A file under its temporary name."""

    path: Path
    size: int
    digest: str

    def header(self) -> Media:
        """What it says of itself; raises NoMedia."""
        with self.path.open("rb") as file:
            return read_header(file)


class InputFolder:
    """Uploads below an output root. store_key: of the store that knows them. most: bytes of one. min_free: bytes that
    must be free beside it."""

    def __init__(self, root: Path, store_key: str, most: int, min_free: int = 0) -> None:
        self._root, self._key, self._most, self._min_free = root, store_key, most, min_free
        self._folder = root / FOLDER / store_key

    @contextlib.contextmanager
    def receive(self, blocks: Iterable[bytes]) -> Iterator[Received]:
        """The file of these bytes, which is gone at the end of the block unless it was placed.

        Raises UploadTooLarge, InsufficientStorage, and NotAccepting where the folder cannot be used.
        """
        part = self._folder / f".{secrets.token_hex(16)}.part"
        try:
            with self._refusals():
                self._check_room()
                self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                size, digest = self._write(part, blocks)
            yield Received(part, size, digest)
        finally:
            part.unlink(missing_ok=True)

    def place(self, received: Received) -> None:
        """Keep a file by its digest. Raises NotAccepting."""
        path = self._path(received.digest)
        with self._refusals():
            path.parent.mkdir(mode=0o755, exist_ok=True)
            os.replace(received.path, path)  # noqa: PTH105 - in the place of one with the same bytes

    def has(self, digest: str) -> bool:
        """Whether the file of that digest is there."""
        return self._path(digest).is_file()

    def unlink(self, digest: str) -> None:
        """Remove that file. Raises OSError where the disk refuses."""
        self._path(digest).unlink(missing_ok=True)

    def sweep(self, now: float) -> None:
        """Remove what killed web workers have left under temporary names. now: Unix seconds."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as found:
            for entry in found:
                if _PART.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < now - LEFT_BEHIND:
                    Path(entry.path).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return input_path(self._root, self._key, digest)

    def _write(self, part: Path, blocks: Iterable[bytes]) -> tuple[int, str]:
        size, digest = 0, hashlib.sha256()
        with part.open("xb") as file:
            for block in blocks:
                size += len(block)
                if size > self._most:
                    raise UploadTooLarge(self._most)
                digest.update(block)
                file.write(block)
        return size, digest.hexdigest()

    def _check_room(self) -> None:
        free = free_bytes(self._root)
        if free is not None and free < self._min_free:
            raise InsufficientStorage(free, self._min_free)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NotAccepting(f"uploads cannot be written ({error.strerror})") from None


def input_folder(settings: Settings, store_key: str) -> InputFolder:
    """The folder of uploads of a server with these settings and that store."""
    return InputFolder(settings.output_dir, store_key, settings.max_upload, settings.min_free)
