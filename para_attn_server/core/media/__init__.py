"""What a picture, video or sound says of itself in its header: its media type, size and length.

A file is known by its first bytes, never by its name or by what a client says of it. Nothing is decoded, and no more is
read than headers, however long or hostile the file is. Web, command line and ranks judge files by this module alone.
"""

from __future__ import annotations

from typing import BinaryIO

from para_attn_server.core.media.header import Media, NoMedia
from para_attn_server.core.media.pictures import bmp, gif, jpeg, png, webp
from para_attn_server.core.media.sounds import flac, mp3, ogg, wav
from para_attn_server.core.media.videos import matroska, mp4

__all__ = ["ACCEPTED", "Media", "NoMedia", "read_header"]

ACCEPTED = {
    "image": "PNG, JPEG, WebP, GIF or BMP",
    "video": "MP4, MOV, WebM or MKV, or an animated GIF, WebP or PNG",
    "audio": "WAV, FLAC, MP3, Ogg, M4A or WebM",
}
"""What each kind of input may be, in words."""
_READERS = (png, jpeg, gif, webp, bmp, mp4, matroska, wav, flac, ogg, mp3)
_FIRST = 16


def read_header(file: BinaryIO) -> Media:
    """What the file is; raises NoMedia, which says why it is nothing that is accepted. Leaves it at its beginning."""
    first = file.read(_FIRST)
    try:
        for reader in _READERS:
            file.seek(0)
            if (media := reader(first, file)) is not None:
                return media
    except (EOFError, IndexError, OverflowError, ValueError, ZeroDivisionError):
        raise NoMedia("its header is damaged") from None
    finally:
        file.seek(0)
    raise NoMedia(f"it is no {ACCEPTED['image']}; no MP4, MOV, WebM or MKV; no {ACCEPTED['audio']}")
