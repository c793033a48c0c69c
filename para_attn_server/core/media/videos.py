"""Headers of videos, and of sounds in the same formats: MP4 and MOV, WebM and MKV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from para_attn_server.core.media.header import MOST_PARTS, Media, NoMedia, big, exactly

_PICTURES = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_INSIDE = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_BEGINS = {b"ftyp", b"moov", b"wide", b"free", b"skip", b"mdat"}
_DEEPEST = 8


@dataclass(slots=True)
class _Track:
    kind: bytes = b""
    width: int = 0
    height: int = 0
    samples: int | None = None


@dataclass(slots=True)
class _Movie:
    duration: float | None = None
    tracks: list[_Track] = field(default_factory=list)

    def media(self, container: str, kinds: dict[bytes, str]) -> Media:
        """The movie, by its first track of pictures, else of sound. Raises NoMedia without either."""
        for wanted in ("video", "audio"):
            for track in self.tracks:
                if kinds.get(track.kind) == wanted:
                    kind = f"video/{container}" if wanted == "video" else f"audio/{container}"
                    media = Media(kind, wanted, duration=self.duration)
                    if wanted == "audio":
                        return media
                    return replace(media, width=track.width, height=track.height, frames=track.samples)
        raise NoMedia("it has neither pictures nor sound")


# --- MP4, MOV, M4A ---


def mp4(first: bytes, file: BinaryIO) -> Media | None:
    """MP4, MOV and M4A."""
    if first[4:8] not in _BEGINS or big(first[:4]) < 8:
        return None
    brand = first[8:12]
    if first[4:8] == b"ftyp" and brand in _PICTURES:
        raise NoMedia("pictures in AVIF and HEIC are not accepted; send PNG, JPEG or WebP")
    movie = _Movie()
    for kind, start, end in _boxes(file):
        _read_box(movie, kind, file, start, end)
    quicktime = first[4:8] != b"ftyp" or brand == b"qt  "
    media = movie.media("mp4", {b"vide": "video", b"soun": "audio"})
    return replace(media, media_type="video/quicktime") if quicktime and media.kind == "video" else media


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Each box, before those in it: its name, and from where to where its content is."""
    length = file.seek(0, 2)
    ends = [length]
    at = 0
    for _ in range(MOST_PARTS):
        while len(ends) > 1 and at >= ends[-1]:
            ends.pop()
        if at + 8 > ends[-1]:
            if len(ends) == 1:
                return
            at = ends.pop()
            continue
        file.seek(at)
        size, kind = struct.unpack(">I4s", exactly(file, 8))
        start = at + 8
        if size == 1:
            size, start = big(exactly(file, 8)), at + 16
        end = ends[-1] if size == 0 else at + size
        if end < start:
            raise ValueError
        end = min(end, ends[-1])
        yield kind, start, end
        inside = kind in _INSIDE and len(ends) < _DEEPEST
        ends += [end] if inside else []
        at = start if inside else end
    raise EOFError


def _read_box(movie: _Movie, kind: bytes, file: BinaryIO, start: int, end: int) -> None:
    file.seek(start)
    if kind == b"trak":
        movie.tracks.append(_Track())
    elif kind == b"mvhd":
        long = exactly(file, 4)[0] == 1
        file.seek(16 if long else 8, 1)
        scale, duration = big(exactly(file, 4)), big(exactly(file, 8 if long else 4))
        movie.duration = round(duration / scale, 3) if scale else None
    elif kind in (b"tkhd", b"hdlr", b"stsz", b"stz2"):
        if not movie.tracks:
            raise ValueError
        track = movie.tracks[-1]
        if kind == b"tkhd":
            file.seek(end - 8)
            track.width, track.height = big(exactly(file, 4)) >> 16, big(exactly(file, 4)) >> 16
        elif kind == b"hdlr" and not track.kind:
            track.kind = exactly(file, 12)[8:]
        elif kind != b"hdlr":
            track.samples = big(exactly(file, 12)[8:])


# --- WebM, MKV ---

_EBML, _DOCTYPE, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x4282, 0x18538067, 0x1F43B675
_INFO, _SCALE, _DURATION = 0x1549A966, 0x2AD7B1, 0x4489
_TRACKS, _ENTRY, _TYPE, _VIDEO, _WIDTH, _HEIGHT = 0x1654AE6B, 0xAE, 0x83, 0xE0, 0xB0, 0xBA
_FOLDERS = {_EBML, _SEGMENT, _INFO, _TRACKS, _ENTRY, _VIDEO}
_LONGEST = 1 << 16


def matroska(first: bytes, file: BinaryIO) -> Media | None:
    """WebM and MKV."""
    if big(first[:4]) != _EBML:
        return None
    movie, scale, duration, container = _Movie(), 1_000_000, None, "matroska"
    for name, data in _elements(file):
        if name == _DOCTYPE:
            container = "webm" if data == b"webm" else "matroska"
        elif name == _SCALE:
            scale = big(data)
        elif name == _DURATION:
            duration = struct.unpack(">f" if len(data) == 4 else ">d", data.rjust(4, b"\0")[-8:])[0]
        elif name == _ENTRY:
            movie.tracks.append(_Track())
        elif movie.tracks and name == _TYPE:
            movie.tracks[-1].kind = data
        elif movie.tracks and name == _WIDTH:
            movie.tracks[-1].width = big(data)
        elif movie.tracks and name == _HEIGHT:
            movie.tracks[-1].height = big(data)
    movie.duration = None if duration is None else round(duration * scale / 1e9, 3)
    return movie.media(container, {b"\x01": "video", b"\x02": "audio"})


def _elements(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Each element before the first cluster; of those that have others in them the name alone."""
    for _ in range(MOST_PARTS):
        byte = file.read(1)
        if not byte:
            return
        length = 9 - byte[0].bit_length()
        name = big(byte + exactly(file, length - 1)) if length <= 4 else 0
        byte = exactly(file, 1)
        length = 9 - byte[0].bit_length()
        if length > 8:
            raise ValueError
        size = big(byte + exactly(file, length - 1)) & ((1 << 7 * length) - 1)
        if name == _CLUSTER:
            return
        if name in _FOLDERS:
            yield name, b""
        elif size <= 8:
            yield name, exactly(file, size)
        else:
            file.seek(size, 1)
    raise EOFError
