"""Looks for damage in SQLite's write-ahead log, which SQLite itself passes over without a word.

At the first frame whose checksum is wrong SQLite takes the log for ended: whatever was committed behind it is gone, and
`integrity_check` says "ok". A killed server leaves at most one unfinished transaction at the end; a transaction that
was committed and lies behind a wrong frame means that the disk or a person has changed the file.
https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from para_attn_server.core.errors import StateDirError

_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_HEADER, _FRAME = 32, 24
_PAGES = {512 << power for power in range(8)}
_USUAL_PAGE = 4096
_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class WalDamage:
    """frames: of the present log, behind the first wrong one. transactions: committed with them or
    with the wrong one, and lost. kept: the copy of the log."""

    frames: int
    transactions: int
    kept: Path | None = None


def keep_damaged(database: Path) -> WalDamage | None:
    """Copy a damaged log beside its database; None where there is no damage. For when nobody has the database open.

    Raises StateDirError where it cannot be copied: opening the database would be the end of it.
    """
    log = Path(f"{database}-wal")
    try:
        found = damage(log)
        if found is None:
            return None
        kept = log.with_name(f"{log.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        shutil.copy2(log, kept)
    except OSError as error:
        raise StateDirError(f"{log} is damaged or cannot be read, and cannot be kept ({error.strerror})") from None
    return WalDamage(found.frames, found.transactions, kept)


def damaged_logs(database: Path) -> list[str]:
    """The names of the logs that were kept."""
    return sorted(path.name for path in database.parent.glob(f"{database.name}-wal.damaged-*"))


def damage(log: Path) -> WalDamage | None:
    """What is lost of a log, None if nothing is."""
    try:
        with log.open("rb") as file:
            return _damage(file)
    except FileNotFoundError:
        return None


def _damage(file: BufferedReader) -> WalDamage | None:
    header = file.read(_HEADER)
    if len(header) < _HEADER:
        return None
    magic, _, page_size, _ = struct.unpack(">4I", header[:16])
    salt, order = header[16:24], _MAGIC.get(magic, "<")
    sums = _checksum(header[:24], (0, 0), order)
    whole = magic in _MAGIC and page_size in _PAGES and struct.pack(">2I", *sums) == header[24:]
    size = _FRAME + (page_size if page_size in _PAGES else _USUAL_PAGE)
    frames, wrong = _frames(file, size), b""
    if whole:
        for frame in frames:
            sums = _checksum(frame[:8] + frame[_FRAME:], sums, order)
            if frame[8:16] != salt or struct.pack(">2I", *sums) != frame[16:24]:
                wrong = frame  # by itself no damage, but the torn write of a killed server
                break
        lost = [frame[:_FRAME] for frame in frames if frame[8:16] == salt]
    else:  # SQLite ignores all of it
        lost = [frame[:_FRAME] for frame in frames]
        lost = [frame for frame in lost if frame[8:16] == lost[0][8:16]]
    if not (transactions := sum(map(_commits, lost))):
        return None
    return WalDamage(len(lost), transactions + _commits(wrong))


def _commits(frame: bytes) -> bool:
    """Whether a transaction ends with it."""
    return frame[4:8].strip(b"\0") != b""


def _frames(file: BufferedReader, size: int) -> Iterator[bytes]:
    """One after the other, without what is left of a last one."""
    while len(frame := file.read(size)) == size:
        yield frame


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & _WORD
        two = (two + second + one) & _WORD
    return one, two
