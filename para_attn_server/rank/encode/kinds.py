"""The kinds of values that can be encoded, and the formats of each by suffix."""

from __future__ import annotations

from dataclasses import dataclass

from para_attn_server.core.media_types import MEDIA_TYPES

ACCEPTED = (
    "PIL pictures, arrays of pixels, a diffusers output, Video(frames, fps), Audio(samples, rate), str, bytes, "
    "a dict or list of JSON values, or a list of these"
)


class Unencodable(Exception):
    """What predict returned cannot be encoded; the message says why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Kind:
    """name: with its article. suffixes: of its formats, the default one first."""

    name: str
    suffixes: tuple[str, ...]

    def takes(self, suffix: str) -> bool:
        """Whether a file of that suffix can hold it."""
        return suffix.lower() in self.suffixes


_TEXTS = [suffix for suffix, kind in MEDIA_TYPES.items() if kind.startswith("text/")]
_MORE_TEXTS = (".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".toml", ".srt", ".svg", ".sql", ".obj")

PICTURE = Kind("a picture", (".png", ".jpg", ".jpeg", ".webp"))
VIDEO = Kind("a video", (".mp4", ".webm", ".gif"))
AUDIO = Kind("audio", (".wav", ".flac"))
JSON = Kind("JSON", (".json",))
TEXT = Kind("text", tuple(dict.fromkeys((".txt", *_TEXTS, *_MORE_TEXTS))))


class _AnyFormat(Kind):
    """Bytes are whatever their predictor says."""

    def takes(self, suffix: str) -> bool:
        return True


BYTES = _AnyFormat("bytes", (".bin",))
_BY_SUFFIX = (PICTURE, VIDEO, AUDIO, JSON, TEXT)


def kind_of(suffix: str) -> Kind:
    """The kind that a suffix promises; bytes where it is none of the others."""
    return next((kind for kind in _BY_SUFFIX if kind.takes(suffix)), BYTES)
