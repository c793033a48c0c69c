"""What headers have in common: their result, and reading that never goes on for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

MOST_PARTS = 100_000
"""Chunks, boxes or blocks of a file that are looked at."""


class NoMedia(Exception):
    """The file is no picture, video or sound that is accepted, or its header is damaged; the text says which."""


@dataclass(frozen=True, slots=True)
class Media:
    """A file by its header. kind: `image`, `video` or `audio`. width, height: in pixels, as they are stored. duration:
    in seconds. None where the header does not say it."""

    media_type: str
    kind: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    duration: float | None = None


def exactly(file: BinaryIO, size: int) -> bytes:
    """That many bytes; raises EOFError where the file ends before."""
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def big(data: bytes) -> int:
    """A whole number, its highest byte first."""
    return int.from_bytes(data, "big")


def little(data: bytes) -> int:
    """A whole number, its lowest byte first."""
    return int.from_bytes(data, "little")


def picture(media_type: str, width: int, height: int, frames: int | None = 1) -> Media:
    """A picture; raises ValueError for one without pixels."""
    if width < 1 or height < 1:
        raise ValueError
    return Media(media_type, "image", width, height, frames)
