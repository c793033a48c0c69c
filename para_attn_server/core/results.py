"""What predict may return besides pictures, arrays, text, JSON and bytes: values that need a rate to be encoded.

Nothing here encodes (rank/encode/), and nothing imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Video:
    """A video for the server to encode.

    frames: a list of PIL pictures, or an array of shape (frames, height, width, channels) or (frames, channels, height,
    width), of bytes from 0 to 255 or floats from 0 to 1. fps: frames per second.
    """

    frames: Any
    fps: float = 24.0


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound for the server to encode.

    samples: an array of shape (samples,), (channels, samples) or (samples, channels), of floats from -1 to 1 or of
    int16. rate: samples per second.
    """

    samples: Any
    rate: int
