"""Pictures: from PIL and arrays of pixels to PNG, JPEG and WebP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from para_attn_server.rank.encode.kinds import Unencodable
from para_attn_server.rank.encode.own import Array

QUALITY = 95
"""Of JPEG and WebP."""
_CHANNELS = (1, 3, 4)
_ROUNDING = 0.01
"""By so much floats may be off the range from 0 to 1."""


def is_array(value: object) -> bool:
    """Whether it is an array or a tensor of two dimensions or more."""
    return isinstance(value, np.ndarray | torch.Tensor) and value.ndim >= 2


def pixels(found: Array, of_tensor: bool = False) -> Array:
    """The array with its channels last: (..., height, width, channels), not yet bytes. Raises Unencodable.

    of_tensor: its channels are before height and width, where both could be.
    """
    if found.ndim == 2:
        return found[..., None]
    for axis in (-3, -1) if of_tensor else (-1, -3):
        if found.shape[axis] in _CHANNELS:
            return np.moveaxis(found, axis, -1)
    raise Unencodable(
        f"an array of shape {found.shape} holds no pictures: their shape is (height, width), "
        "(height, width, channels) or (channels, height, width), with 1, 3 or 4 channels"
    )


def each(found: Array) -> Array:
    """An array with channels last as several of them: one of one that holds one. Raises Unencodable."""
    if found.ndim > 4:
        raise Unencodable(f"an array of shape {found.shape} holds no list of pictures: return Video(frames, fps) of it")
    return found if found.ndim == 4 else found[None]


def image_of(one: Array) -> Image.Image:
    """The picture whose pixels these are, channels last. Raises Unencodable."""
    if 0 in one.shape:
        raise Unencodable(f"an array of shape {one.shape} has no pixels")
    as_bytes = _bytes(one)
    return Image.fromarray(as_bytes[..., 0] if as_bytes.shape[-1] == 1 else as_bytes)


def _bytes(one: Array) -> Array:
    if one.dtype == np.uint8:
        return np.ascontiguousarray(one)
    if one.dtype == bool:
        return one.astype(np.uint8) * 255
    if one.dtype.kind not in "iuf":
        raise Unencodable(f"pixels of type {one.dtype}: they are bytes from 0 to 255, or floats from 0 to 1")
    least, most = float(one.min()), float(one.max())  # NaN where one is NaN
    if one.dtype.kind in "iu":
        if least < 0 or most > 255:
            raise Unencodable(f"pixels from {least:g} to {most:g}: integers are from 0 to 255")
        return one.astype(np.uint8)
    if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):
        raise Unencodable(
            f"pixels from {least:.3g} to {most:.3g}: floats are from 0 to 1; what is from -1 to 1 becomes that by "
            "(x / 2 + 0.5).clamp(0, 1)"
        )
    return (one.clip(0, 1) * 255).round().astype(np.uint8)


def save(image: Image.Image, path: Path) -> dict[str, Any]:
    """Write it in the format of the path's suffix; width and height. Raises Unencodable."""
    if 0 in image.size:
        raise Unencodable(f"a picture of {image.width} x {image.height} has no pixels")
    suffix = path.suffix.lower()
    if suffix == ".png":
        _converted(image, ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "RGB").save(path, "PNG")
    elif suffix == ".webp":
        alpha = image.has_transparency_data
        _converted(image, ("RGB", "RGBA"), "RGBA" if alpha else "RGB").save(path, "WEBP", quality=QUALITY)
    else:
        _converted(opaque(image), ("RGB", "L"), "RGB").save(path, "JPEG", quality=QUALITY)
    return {"width": image.width, "height": image.height}


def opaque(image: Image.Image) -> Image.Image:
    """The picture on white where it is transparent."""
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def _converted(image: Image.Image, modes: tuple[str, ...], otherwise: str) -> Image.Image:
    return image if image.mode in modes else image.convert(otherwise)
