"""Headers of pictures: PNG, JPEG, GIF, WebP, BMP. Each reader returns None for a file of another format."""

from __future__ import annotations

import struct
from typing import BinaryIO

from para_attn_server.core.media.header import MOST_PARTS, Media, NoMedia, big, exactly, little, picture

_ANIMATED_WEBP = 0x02
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's frames; the others are tables and extensions
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length


def png(first: bytes, file: BinaryIO) -> Media | None:
    """PNG, an animated one among them."""
    if not first.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    file.seek(8)
    frames = 1
    width = height = 0
    for _ in range(MOST_PARTS):
        size, kind = struct.unpack(">I4s", exactly(file, 8))
        if kind == b"IHDR":
            width, height = struct.unpack(">II", exactly(file, 8))
            size -= 8
        elif kind == b"acTL":
            frames = big(exactly(file, 4))
            size -= 4
        elif kind == b"IDAT":
            return picture("image/png", width, height, frames)
        file.seek(size + 4, 1)
    raise EOFError


def jpeg(first: bytes, file: BinaryIO) -> Media | None:
    """JPEG, also of a camera that keeps further pictures in the file: only the first one counts."""
    if not first.startswith(b"\xff\xd8\xff"):
        return None
    file.seek(2)
    for _ in range(MOST_PARTS):
        if exactly(file, 1) != b"\xff":
            raise ValueError
        marker = 0xFF
        while marker == 0xFF:
            marker = exactly(file, 1)[0]
        if marker in _ALONE:
            continue
        size = big(exactly(file, 2))
        if marker in _SIZES:
            _, height, width = struct.unpack(">BHH", exactly(file, 5))
            return picture("image/jpeg", width, height)
        if size < 2 or marker in (0xD9, 0xDA):  # the picture's data without a word of its size
            raise ValueError
        file.seek(size - 2, 1)
    raise EOFError


def gif(first: bytes, file: BinaryIO) -> Media | None:
    """GIF. Frames are counted up to a point."""
    if not first.startswith((b"GIF87a", b"GIF89a")):
        return None
    width, height = little(first[6:8]), little(first[8:10])
    file.seek(13 + _palette(first[10]))
    return picture("image/gif", width, height, _gif_frames(file))


def _gif_frames(file: BinaryIO) -> int | None:
    frames, in_blocks = 0, False
    for _ in range(MOST_PARTS):
        kind = file.read(1)
        if in_blocks:  # the byte is the length of one
            in_blocks = kind not in (b"", b"\0")
            file.seek(kind[0] if in_blocks else 0, 1)
            continue
        if kind == b",":
            frames += 1
            place = exactly(file, 9)
            file.seek(_palette(place[8]) + 1, 1)
        elif kind == b"!":
            file.seek(1, 1)
        else:  # its end, or what is damaged: decoding will show
            return max(frames, 1)
        in_blocks = True
    return None


def _palette(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def webp(first: bytes, file: BinaryIO) -> Media | None:
    """WebP, an animated one among them."""
    if first[:4] != b"RIFF" or first[8:12] != b"WEBP":
        return None
    file.seek(12)
    kind, size = struct.unpack("<4sI", exactly(file, 8))
    head = exactly(file, 10)
    if kind == b"VP8X":
        file.seek(20 + size + size % 2)
        frames = _webp_frames(file) if head[0] & _ANIMATED_WEBP else 1
        return picture("image/webp", little(head[4:7]) + 1, little(head[7:10]) + 1, frames)
    if kind == b"VP8L" and head[0] == 0x2F:
        packed = little(head[1:5])
        return picture("image/webp", (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        return picture("image/webp", little(head[6:8]) & 0x3FFF, little(head[8:10]) & 0x3FFF)
    raise ValueError


def _webp_frames(file: BinaryIO) -> int | None:
    frames = 0
    for _ in range(MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            return max(frames, 1)
        frames += head[:4] == b"ANMF"
        size = little(head[4:])
        file.seek(size + size % 2, 1)
    return None


def bmp(first: bytes, file: BinaryIO) -> Media | None:
    """BMP."""
    if first[:2] != b"BM":
        return None
    file.seek(14)
    size = little(exactly(file, 4))
    if not 40 <= size <= 124:
        raise NoMedia("it is a BMP of a kind that is not accepted; send PNG")
    width, height = struct.unpack("<ii", exactly(file, 8))
    return picture("image/bmp", width, abs(height))
