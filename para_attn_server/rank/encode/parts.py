"""From what predict has returned to the parts of it that become a file each.

A list in which anything is a picture, an array, a Video, an Audio or bytes has a part for each item; any other list is
JSON. Where a video is wanted, a list of pictures is one video.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from para_attn_server.core.results import Audio, Video
from para_attn_server.rank.encode import pictures, sounds, videos
from para_attn_server.rank.encode.kinds import (
    ACCEPTED,
    AUDIO,
    BYTES,
    JSON,
    PICTURE,
    TEXT,
    VIDEO,
    Kind,
    Unencodable,
)

Write = Callable[[Path, Callable[[], None]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One file to be. write: encodes it in the format of a path's suffix, calls its second argument now and then, and
    returns what is known of the file: width, height, duration."""

    kind: Kind
    write: Write


def parts_of(value: Any, moving: bool) -> list[Part]:
    """The parts of a returned value. moving: a list of pictures is a video. Raises Unencodable."""
    value = _of_pipeline(value)
    match value:
        case Video():
            return [Part(VIDEO, partial(videos.save, value))]
        case Audio():
            return [Part(AUDIO, lambda path, beat: sounds.save(value, path))]
        case Image.Image():
            return [_picture(value)]
        case str():
            return [_raw(TEXT, value.encode(errors="replace"))]
        case bytes() | bytearray() | memoryview():
            return [_raw(BYTES, value)]
    if pictures.is_array(value):
        return _of_array(value, moving)
    if isinstance(value, list | tuple) and any(map(_is_made, value)):
        if moving and all(_is_picture(item) for item in value):
            return [Part(VIDEO, partial(videos.save, Video(value)))]
        return [part for item in value for part in parts_of(item, moving)]
    if isinstance(value, dict | list | tuple):
        return [_raw(JSON, _json(value))]
    raise Unencodable(f"a value of type {type_text(value)} is none of {ACCEPTED}")


def type_text(value: object) -> str:
    """The name of its class, with the module."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _of_pipeline(value: Any) -> Any:
    """What a diffusers pipeline has put into its output object; anything else as it is."""
    if (found := getattr(value, "images", None)) is not None:
        return found
    sound = any(getattr(value, name, None) is not None for name in ("audios", "audio"))
    if (found := getattr(value, "frames", None)) is not None and not isinstance(value, Video):
        if sound:
            raise Unencodable(
                f"{type_text(value)} has sound, too: return [Video(frames, fps), Audio(samples, rate)] of it"
            )
        several = pictures.is_array(found) and found.ndim == 5
        several |= isinstance(found, list | tuple) and not all(map(_is_picture, found))
        return [Video(each) for each in found] if several else Video(found)
    if sound:
        raise Unencodable(f"{type_text(value)} does not say its rate: return Audio(samples, rate) of what is in it")
    return value


def _of_array(array: Any, moving: bool) -> list[Part]:
    if moving and array.ndim > 4:
        return [Part(VIDEO, partial(videos.save, Video(each))) for each in array]
    if moving and array.ndim == 4:
        return [Part(VIDEO, partial(videos.save, Video(array)))]
    return [_picture(image) for image in pictures.images(array)]


def _is_picture(value: Any) -> bool:
    return isinstance(value, Image.Image) or (pictures.is_array(value) and value.ndim <= 3)


def _is_made(value: Any) -> bool:
    """Whether it is no JSON: a list that holds such a value has a part for each item."""
    if isinstance(value, list | tuple):
        return any(map(_is_made, value))
    kinds = Image.Image | Video | Audio | bytes | bytearray | memoryview
    return isinstance(value, kinds) or pictures.is_array(value) or hasattr(value, "images")


def _picture(image: Image.Image) -> Part:
    return Part(PICTURE, lambda path, beat: pictures.save(image, path))


def _raw(kind: Kind, data: Any) -> Part:
    def write(path: Path, beat: Callable[[], None]) -> dict[str, Any]:
        path.write_bytes(data)
        return {}

    return Part(kind, write)


def _json(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_number)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unencodable(f"a {type(value).__name__} that is not JSON: {error}") from None
    return text.encode(errors="replace") + b"\n"


def _number(value: Any) -> Any:
    """A number of NumPy or torch as Python's own."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"a value of type {type_text(value)}")
