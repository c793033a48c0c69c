"""Whether the file at a path is the very output that is on record, or a copy of it that was put back."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from para_attn_server.core.job import Output

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)  # the last: a socket
_DIGESTS_KEPT = 256
_digests: dict[tuple[int, int, int], str] = {}


def is_sealed(output: Output, found: os.stat_result) -> bool:
    """Whether a file is the one that was sealed, unchanged; a copy of it is not."""
    return (found.st_size, found.st_ino, found.st_mtime_ns) == (output.size, output.inode, output.mtime_ns)


def open_own(path: Path, output: Output) -> BufferedReader | None:
    """The file at that path if it is the output, or a copy that was put back; None if it is not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for a writer
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        return None
    file = os.fdopen(descriptor, "rb")
    if found.st_size == output.size and (is_sealed(output, found) or _digest(file, found) == output.sha256):
        return file
    file.close()
    return None


def _digest(file: BufferedReader, found: os.stat_result) -> str:
    """Its SHA-256, found out once: a part of a large file must not cost the whole each time."""
    identity = (found.st_dev, found.st_ino, found.st_ctime_ns)
    if identity not in _digests:
        if len(_digests) >= _DIGESTS_KEPT:
            _digests.clear()
        _digests[identity] = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
    return _digests[identity]
