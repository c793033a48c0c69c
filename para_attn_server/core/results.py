"""What predict may return besides pictures, arrays, text, JSON and bytes: values that need a rate to be encoded.

Nothing here encodes (rank/encode/), and nothing imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Video:
    """A video for the server to encode.

    Parameters
    ----------
    frames : list of PIL.Image.Image, or array
        An array (NumPy or torch) has shape (frames, height, width, channels) or (frames, channels, height, width), and
        bytes from 0 to 255 or floats from 0 to 1.
    fps : float
        Frames per second.
    """

    frames: Any
    fps: float = 24.0


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound for the server to encode.

    Parameters
    ----------
    samples : array
        NumPy or torch, of shape (samples,), (channels, samples) or (samples, channels); floats from -1 to 1, or int16.
    rate : int
        Samples per second.
    """

    samples: Any
    rate: int
