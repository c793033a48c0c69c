"""Videos and sounds from files, by ffmpeg, as imageio-ffmpeg brings it.

ffmpeg is given the file's format, so that no playlist or list of files is taken for a video, and may open nothing else.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from para_attn_server.core import install
from para_attn_server.core.results import Audio, Video
from para_attn_server.core.uploads import FRAMES_AT_MOST
from para_attn_server.rank.ffmpeg_program import ffmpeg_program
from para_attn_server.rank.inputs.undecodable import Undecodable

_DEMUXERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/matroska": "matroska",
    "audio/mp4": "mov",
    "audio/webm": "matroska",
    "audio/matroska": "matroska",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
}
_RATE = re.compile(r"Video: .*?([0-9.]+) (?:fps|tbr)")
_SIZE = re.compile(rb"P6\n(\d{1,6}) (\d{1,6})\n255\n\Z")
_LONGEST_HEADER = 32
_OTHERWISE = 24.0
_AU = ">4sIIIII"


def video(path: Path, media_type: str, max_pixels: int) -> Video:
    """The frames of a video, upright, and their rate. Raises Undecodable."""
    frames = []
    left = FRAMES_AT_MOST * max_pixels
    wanted = ["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24"]
    with _ffmpeg(path, media_type, wanted) as (out, words):
        while (size := _frame_size(out)) is not None:
            width, height = size
            left -= width * height
            if width * height > max_pixels or left < 0:
                most = f"{max_pixels} (--max-pixels), or all frames more than {FRAMES_AT_MOST} times as many"
                raise Undecodable(f"a frame has more pixels than {most}")
            data = out.read(3 * width * height)
            if len(data) < 3 * width * height:
                break
            frames.append(Image.frombytes("RGB", (width, height), data))
        said = words()
    if not frames:
        raise Undecodable(f"the file is damaged or cut off: it has no frame that can be decoded as {media_type}")
    rate = _RATE.search(said)
    return Video(frames, float(rate[1]) if rate else _OTHERWISE)


def sound(path: Path, media_type: str, most: int) -> Audio:
    """The samples of a sound and their rate. Raises Undecodable."""
    with _ffmpeg(path, media_type, ["-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be"]) as (out, _):
        head = out.read(struct.calcsize(_AU))
        data = b""
        if len(head) == struct.calcsize(_AU):
            _, offset, _, _, rate, channels = struct.unpack(_AU, head)
            out.read(offset - len(head))
            data = out.read(4 * most + 1)
    if len(data) > 4 * most:
        raise Undecodable(f"it has more than {most} samples (--max-pixels)")
    if not data:
        raise Undecodable(f"the file is damaged or cut off: it has no sound that can be decoded as {media_type}")
    whole = len(data) - len(data) % (4 * channels)
    samples = np.frombuffer(data[:whole], ">f4").astype(np.float32).reshape(-1, channels).T
    return Audio(np.ascontiguousarray(samples), rate)


def _frame_size(out: IO[bytes]) -> tuple[int, int] | None:
    """Width and height of the next frame; None at the end."""
    head = b""
    while len(head) < _LONGEST_HEADER:
        byte = out.read(1)
        if not byte:
            return None
        head += byte
        if found := _SIZE.fullmatch(head):
            return int(found[1]), int(found[2])
    return None


@contextmanager
def _ffmpeg(path: Path, media_type: str, wanted: list[str]) -> Iterator[tuple[IO[bytes], Callable[[], str]]]:
    """Its output while it runs; it ends with the block. And what it has said, once it has ended by itself."""
    command = [_program(), "-hide_banner", "-nostdin", "-nostats", "-protocol_whitelist", "file,pipe"]
    command += ["-f", _DEMUXERS[media_type], "-i", f"file:{path}", *wanted, "pipe:1"]
    with tempfile.TemporaryFile() as said:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        assert running.stdout is not None

        def words() -> str:
            running.wait()
            said.seek(0)
            return said.read(1 << 20).decode(errors="replace")

        try:
            yield running.stdout, words
        finally:
            running.kill()
            running.stdout.close()
            running.wait()


def _program() -> str:
    if (program := ffmpeg_program()) is None:
        raise Undecodable(f"the server cannot decode videos and sounds: it has no ffmpeg; {install.VIDEO}")
    return program
