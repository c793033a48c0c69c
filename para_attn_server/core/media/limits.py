"""What a header says that makes a file unfit: too many pixels, or another kind than the argument takes.

The web asks before a job is accepted; ranks ask again, and count as they decode (rank/inputs.py), for a header may lie.
"""

from __future__ import annotations

from typing import Protocol

from para_attn_server.core.media import ACCEPTED
from para_attn_server.core.media.header import Media
from para_attn_server.core.uploads import FRAMES_AT_MOST

_KINDS = {"image": "a picture", "video": "a video", "audio": "a sound"}


class Described(Protocol):
    """What is known of a file by its header."""

    @property
    def media_type(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def frames(self) -> int | None: ...


def excess(media: Media, max_pixels: int) -> str | None:
    """Why the file has too many pixels, None where it has not."""
    pixels = (media.width or 0) * (media.height or 0)
    if pixels > max_pixels:
        return f"{media.width} x {media.height} pixels are more than {max_pixels} (--max-pixels)"
    if media.kind == "video" and pixels * (media.frames or 1) > FRAMES_AT_MOST * max_pixels:
        most = f"{FRAMES_AT_MOST} times {max_pixels} (--max-pixels)"
        return f"{media.frames} frames of {media.width} x {media.height} have more pixels than {most}"
    return None


def unfit(kind: str, media: Described) -> str | None:
    """Why a file does not fit an argument of that kind, None where it does. An animated picture is a video too."""
    animated = media.kind == "image" and media.frames != 1
    if media.kind == kind or (kind == "video" and animated):
        return None
    return f"must be {_KINDS[kind]} ({ACCEPTED[kind]}), and this is {media.media_type}"
