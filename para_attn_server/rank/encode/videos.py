"""Videos: from frames to MP4 (H.264), WebM (VP9) and GIF.

GIF is Pillow's, with a palette for each frame; the others are ffmpeg's, from the extra `video`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from para_attn_server.core.results import Video
from para_attn_server.rank.encode.ffmpeg import ffmpeg
from para_attn_server.rank.encode.kinds import Unencodable
from para_attn_server.rank.encode.pictures import each, image_of, is_array, opaque, pixels
from para_attn_server.rank.encode.watch import Watch

_EVEN = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]  # what players take has an even size
_CODECS = {
    ".mp4": ["-c:v", "libx264", "-crf", "18", "-preset", "medium", *_EVEN, "-movflags", "+faststart"],
    ".webm": ["-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4", *_EVEN],
}
_LARGEST_RATE = 1000
_LEAST_OF_GIF = 20
"""Milliseconds of a frame: browsers slow down what is quicker."""


def save(video: Video, path: Path, watch: Watch) -> dict[str, Any]:
    """Write it in the format of the path's suffix; width, height and duration. Raises Unencodable, Stopped."""
    if isinstance(video.fps, bool) or not isinstance(video.fps, int | float) or not 0 < video.fps <= _LARGEST_RATE:
        raise Unencodable(f"Video's fps is a number of frames per second up to {_LARGEST_RATE}, not {video.fps!r}")
    frames = _Frames(video.frames, watch)
    first = next(frames, None)
    if first is None:
        raise Unencodable("a video without frames")
    whole, (width, height) = itertools.chain([first], frames), first.size
    if path.suffix.lower() == ".gif":
        _save_gif(whole, path, video.fps)
    else:
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}"]
        raw += ["-framerate", str(video.fps)]
        ffmpeg(raw, ["-an", *_CODECS[path.suffix.lower()]], path, (frame.tobytes() for frame in whole), watch)
        width, height = width + width % 2, height + height % 2
    return {"width": width, "height": height, "duration": round(frames.count / video.fps, 3)}


class _Frames(Iterator[Image.Image]):
    """The frames, one by one, in RGB. Raises Unencodable unless all have one size. count: of those that were taken."""

    def __init__(self, frames: Any, watch: Watch) -> None:
        self._left, self._watch = _pictures(frames), watch
        self._size: tuple[int, int] | None = None
        self.count = 0

    def __next__(self) -> Image.Image:
        self._watch()
        frame = opaque(next(self._left))
        self._size = self._size or frame.size
        if frame.size != self._size:
            raise Unencodable(f"the frames of a video have one size, not {self._size} and {frame.size}")
        self.count += 1
        return frame.convert("RGB")


def _pictures(frames: Any) -> Iterator[Image.Image]:
    if is_array(frames):
        if (found := pixels(frames)).ndim != 4:
            shape = tuple(frames.shape)
            raise Unencodable(f"frames of shape {shape}: it is (frames, height, width, channels), for one video")
        yield from map(image_of, found)
        return
    if not isinstance(frames, list | tuple):
        raise Unencodable(f"Video's frames are a list of pictures or an array, not {type(frames).__name__}")
    for frame in frames:
        if isinstance(frame, Image.Image):
            yield frame
        elif is_array(frame) and pixels(frame).ndim == 3:
            yield from map(image_of, each(pixels(frame)))
        else:
            raise Unencodable(f"a frame of a video is a picture or an array of one, not {type(frame).__name__}")


def _save_gif(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    first = next(frames)
    shown = max(_LEAST_OF_GIF, round(1000 / fps))
    first.save(path, "GIF", save_all=True, append_images=frames, duration=shown, loop=0)
