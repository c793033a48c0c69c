"""Headers of sounds: WAV, FLAC, Ogg, MP3. Those in MP4 and WebM are in `videos.py`."""

from __future__ import annotations

import struct
from typing import BinaryIO

from para_attn_server.core.media.header import MOST_PARTS, Media, NoMedia, big, exactly

_OGG = {b"\x01vorbis": "audio/ogg", b"OpusHead": "audio/ogg", b"\x7fFLAC": "audio/ogg"}


def wav(first: bytes, file: BinaryIO) -> Media | None:
    """WAV."""
    if first[:4] not in (b"RIFF", b"RF64") or first[8:12] != b"WAVE":
        return None
    file.seek(12)
    rate = 0
    for _ in range(MOST_PARTS):
        kind, size = struct.unpack("<4sI", exactly(file, 8))
        if kind == b"fmt ":
            rate = struct.unpack("<I", exactly(file, 12)[8:])[0]
            size -= 12
        elif kind == b"data":
            at = file.tell()
            held = min(size, file.seek(0, 2) - at)
            return Media("audio/wav", "audio", duration=round(held / rate, 3))
        file.seek(size + size % 2, 1)
    raise EOFError


def flac(first: bytes, file: BinaryIO) -> Media | None:
    """FLAC."""
    if first[:4] != b"fLaC":
        return None
    file.seek(8)
    packed = big(exactly(file, 18)[10:])
    rate, samples = packed >> 44, packed & ((1 << 36) - 1)
    return Media("audio/flac", "audio", duration=round(samples / rate, 3) if samples else None)


def ogg(first: bytes, file: BinaryIO) -> Media | None:
    """Ogg with Vorbis, Opus or FLAC."""
    if first[:4] != b"OggS":
        return None
    file.seek(26)
    file.seek(exactly(file, 1)[0], 1)
    packet = file.read(8)
    for begins, media_type in _OGG.items():
        if packet.startswith(begins):
            return Media(media_type, "audio")
    raise NoMedia("it is an Ogg file of another kind than Vorbis, Opus or FLAC")


def mp3(first: bytes, _file: BinaryIO) -> Media | None:
    """MP3, with or without tags before it."""
    frame = len(first) > 1 and first[0] == 0xFF and first[1] & 0xE6 == 0xE2
    return Media("audio/mpeg", "audio") if first[:3] == b"ID3" or frame else None
