"""Audio: from samples to WAV (16 bits) and FLAC. FLAC is ffmpeg's, from the extra `video`."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

from para_attn_server.core.results import Audio
from para_attn_server.rank.encode.ffmpeg import ffmpeg
from para_attn_server.rank.encode.kinds import Unencodable
from para_attn_server.rank.encode.own import Array
from para_attn_server.rank.encode.watch import Watch

_MOST_CHANNELS = 8
_LARGEST_RATE = 384_000


def save(audio: Audio, path: Path, watch: Watch) -> dict[str, Any]:
    """Write it in the format of the path's suffix; its duration. Raises Unencodable, Stopped."""
    if type(audio.rate) is not int or not 0 < audio.rate <= _LARGEST_RATE:
        raise Unencodable(f"Audio's rate is a number of samples per second up to {_LARGEST_RATE}, not {audio.rate!r}")
    samples = _samples(np.asarray(audio.samples))
    if path.suffix.lower() == ".flac":
        raw = ["-f", "s16le", "-ar", str(audio.rate), "-ac", str(samples.shape[1])]
        ffmpeg(raw, ["-c:a", "flac"], path, [samples.tobytes()], watch)
    else:
        with path.open("wb") as file, wave.open(file, "wb") as written:
            written.setnchannels(samples.shape[1])
            written.setsampwidth(2)
            written.setframerate(audio.rate)
            written.writeframes(samples.tobytes())
    return {"duration": round(len(samples) / audio.rate, 3)}


def _samples(array: Array) -> Array:
    """As (samples, channels) of 16 bits; floats beyond -1 and 1 are cut there."""
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape or min(array.shape) > _MOST_CHANNELS:
        raise Unencodable(
            f"samples of shape {array.shape}: it is (samples,), (channels, samples) or (samples, channels), with up to "
            f"{_MOST_CHANNELS} channels; a batch has several, so return a list of Audio"
        )
    if array.shape[0] < array.shape[1]:
        array = array.T
    if array.dtype == np.int16:
        return array.astype("<i2")
    if array.dtype.kind != "f":
        raise Unencodable(f"samples of type {array.dtype}: they are floats from -1 to 1, or int16")
    if not np.isfinite(array).all():
        raise Unencodable("samples that are not finite numbers")
    return (array.clip(-1, 1) * 32767).round().astype("<i2")
