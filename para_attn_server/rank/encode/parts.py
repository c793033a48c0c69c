"""From what predict has returned to the parts of it that become a file each. Encodes nothing yet.

A list in which anything is a picture, an array, a Video, an Audio or bytes has a part for each item; any other list is
JSON. Where a video is wanted, a list of pictures is one video. Parts hold nothing that the next run could change
(own.py). So values stay in lists, by index: one that a variable holds, too, is not the encoder's alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from para_attn_server.core.results import Audio, Video
from para_attn_server.rank.encode import own, pictures, sounds, videos
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
from para_attn_server.rank.encode.watch import Watch

Write = Callable[[Path, Watch], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One file to be. write: encodes it in the format of a path's suffix, and returns what is known of the file: width,
    height, duration. size: bytes that are held until then."""

    kind: Kind
    write: Write
    size: int


def parts_of(items: list[Any], index: int, moving: bool) -> list[Part]:
    """The parts of a returned value, which is taken out of that list. moving: a list of pictures is a video.

    Raises Unencodable.
    """
    if getattr(items[index], "images", None) is not None:
        items[index] = items[index].images
    elif not isinstance(items[index], Video) and (found := _of_pipeline(items, index)) is not None:
        return found
    if isinstance(items[index], Video):
        return [_video_of(items, index)]
    if isinstance(items[index], Audio):
        return [_audio_of(items, index)]
    if isinstance(items[index], Image.Image):
        image = own.image(items, index)
        return [Part(PICTURE, lambda path, watch: pictures.save(image, path), _size(image))]
    if pictures.is_array(items[index]):
        return _of_array(_pixels(items, index), moving)
    if isinstance(items[index], list | tuple) and any(map(_is_made, items[index])):
        return _of_list(items, index, moving)
    return [_of_plain(items[index])]


def type_text(value: object) -> str:
    """The name of its class, with the module."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _of_pipeline(items: list[Any], index: int) -> list[Part] | None:
    """The frames that a diffusers pipeline has put into its output object; None where it is no such object."""
    sound = any(getattr(items[index], name, None) is not None for name in ("audios", "audio"))
    kind = type_text(items[index])
    if getattr(items[index], "frames", None) is None:
        if sound:
            raise Unencodable(f"{kind} does not say its rate: return Audio(samples, rate) of what is in it")
        return None
    if sound:
        raise Unencodable(f"{kind} has sound, too: return [Video(frames, fps), Audio(samples, rate)] of it")
    items[index] = items[index].frames
    if pictures.is_array(items[index]):
        array = _pixels(items, index)
        return list(map(_video, array if array.ndim == 5 else [array]))
    if not isinstance(items[index], list | tuple) or all(map(_is_picture, items[index])):
        return [_video(_frames(items, index))]
    batch = _taken(items, index)
    return [_video(_frames(batch, each)) for each in range(len(batch))]


def _of_list(items: list[Any], index: int, moving: bool) -> list[Part]:
    if moving and all(map(_is_picture, items[index])):
        return [_video(_frames(items, index))]
    taken = _taken(items, index)
    return [part for each in range(len(taken)) for part in parts_of(taken, each, moving)]


def _of_array(array: own.Array, moving: bool) -> list[Part]:
    if moving and array.ndim >= 4:
        return list(map(_video, array if array.ndim > 4 else [array]))
    return [_picture(one) for one in pictures.each(array)]


def _of_plain(value: Any) -> Part:
    if isinstance(value, str):
        return _raw(TEXT, value.encode(errors="replace"))
    if isinstance(value, bytes | bytearray | memoryview):
        return _raw(BYTES, bytes(value))
    if isinstance(value, dict | list | tuple):
        return _raw(JSON, _json(value))
    raise Unencodable(f"a value of type {type_text(value)} is none of {ACCEPTED}")


def _taken(items: list[Any], index: int) -> list[Any]:
    """The items of a list or tuple in there, which is let go."""
    taken = list(items[index])
    items[index] = None
    return taken


def _pixels(items: list[Any], index: int) -> own.Array:
    of_tensor = isinstance(items[index], torch.Tensor)
    return pictures.pixels(own.array(items, index), of_tensor)


def _frames(items: list[Any], index: int) -> Any:
    """Of a video, as the encoder's own. What can be no frames is left for it to refuse."""
    if pictures.is_array(items[index]):
        return _pixels(items, index)
    if not isinstance(items[index], list | tuple):
        return items[index]
    taken = _taken(items, index)
    for each in range(len(taken)):
        if isinstance(taken[each], Image.Image):
            taken[each] = own.image(taken, each)
        elif pictures.is_array(taken[each]):
            taken[each] = _pixels(taken, each)
    return taken


def _video_of(items: list[Any], index: int) -> Part:
    fps = items[index].fps
    items[index] = items[index].frames
    return _video(_frames(items, index), fps=fps)


def _audio_of(items: list[Any], index: int) -> Part:
    rate = items[index].rate
    items[index] = items[index].samples
    audio = Audio(own.array(items, index), rate)
    return Part(AUDIO, partial(sounds.save, audio), audio.samples.nbytes)


def _is_picture(value: Any) -> bool:
    return isinstance(value, Image.Image) or (pictures.is_array(value) and value.ndim <= 3)


def _is_made(value: Any) -> bool:
    """Whether it is no JSON: a list that holds such a value has a part for each item."""
    if isinstance(value, list | tuple):
        return any(map(_is_made, value))
    kinds = Image.Image | Video | Audio | bytes | bytearray | memoryview
    return isinstance(value, kinds) or pictures.is_array(value) or hasattr(value, "images")


def _picture(array: own.Array) -> Part:
    return Part(PICTURE, lambda path, watch: pictures.save(pictures.image_of(array), path), array.nbytes)


def _video(frames: Any, **of_video: float) -> Part:
    return Part(VIDEO, partial(videos.save, Video(frames, **of_video)), _size(frames))


def _size(value: Any) -> int:
    """Bytes in memory: Pillow has four for each pixel of several channels."""
    if isinstance(value, list):
        return sum(map(_size, value))
    if isinstance(value, Image.Image):
        return value.width * value.height * (4 if len(value.getbands()) > 1 else 1)
    return int(getattr(value, "nbytes", 0))


def _raw(kind: Kind, data: bytes) -> Part:
    def write(path: Path, watch: Watch) -> dict[str, Any]:
        path.write_bytes(data)
        return {}

    return Part(kind, write, len(data))


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
