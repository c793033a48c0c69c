"""Pictures, videos and sounds as files, small ones."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

from PIL import Image

RED, BLUE = (204, 0, 0), (0, 0, 204)


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 20), mode: str = "RGB", **options: Any) -> bytes:
    """A picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return saved(image.convert(mode), kind, **options)


def animated(kind: str = "GIF", frames: int = 5) -> bytes:
    """A picture of so many frames, red at first, blue in the end."""
    images = [Image.new("RGB", (40, 20), RED if n == 0 else (20 * n, 10, 200)) for n in range(frames)]
    return saved(images[0], kind, save_all=True, append_images=images[1:], duration=50)


def turned(orientation: int = 6) -> bytes:
    """A JPEG that a camera held upright has taken: its EXIF data says to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture("JPEG", exif=exif, quality=95)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few bytes whose header promises billions of pixels."""
    head = bytearray(picture())
    head[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(head)


def film(path: Path, *options: str) -> Path:
    """A film of 2 s, 64 x 48 pixels and 10 frames a second, with a tone of 44,100 samples a second, by ffmpeg."""
    from imageio_ffmpeg import get_ffmpeg_exe

    sources = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10", "-f", "lavfi", "-i", "sine=sample_rate=44100"]
    subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *sources, "-t", "2", *options, str(path)], check=True)
    return path


def tone(path: Path) -> Path:
    """A tone of 2 s."""
    return film(path, "-vn")
