"""Pictures from files, by Pillow: upright, in RGB, on white where they were transparent."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from para_attn_server.core.results import Video
from para_attn_server.core.uploads import FRAMES_AT_MOST
from para_attn_server.rank.encode.pictures import opaque
from para_attn_server.rank.inputs.undecodable import Undecodable

_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
}
_FRAME = 100.0
"""Milliseconds for which a frame is shown that does not say it."""


def picture(path: Path, media_type: str, max_pixels: int) -> Image.Image:
    """The picture of a file, of an animated one the first frame. Raises Undecodable."""
    with _opened(path, media_type, max_pixels) as opened:
        opened.load()
        return _rgb(ImageOps.exif_transpose(opened))


def animation(path: Path, media_type: str, max_pixels: int) -> Video:
    """The frames of an animated picture. Raises Undecodable."""
    frames, shown = [], 0.0
    with _opened(path, media_type, max_pixels) as opened:
        for frame in ImageSequence.Iterator(opened):
            frames.append(_rgb(frame.copy()))
            shown += frame.info.get("duration") or _FRAME
            if len(frames) * frame.width * frame.height > FRAMES_AT_MOST * max_pixels:
                most = f"{FRAMES_AT_MOST} times {max_pixels} (--max-pixels)"
                raise Undecodable(f"its frames have more pixels than {most}")
    return Video(frames, round(1000 * len(frames) / shown, 3))


@contextlib.contextmanager
def _opened(path: Path, media_type: str, max_pixels: int) -> Iterator[Image.Image]:
    """Whatever Pillow raises is Undecodable: it has no error of its own for damaged files. A frame that turns out to be
    larger than the header says is refused before it is decoded."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=[_FORMATS[media_type]]) as opened:
                yield opened
    except (Undecodable, FileNotFoundError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Undecodable(f"it has more than {max_pixels} pixels (--max-pixels)") from None
    except Exception as error:
        raise Undecodable(f"the file is damaged or cut off: it cannot be decoded as {media_type}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of gray, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return opaque(image).convert("RGB")
