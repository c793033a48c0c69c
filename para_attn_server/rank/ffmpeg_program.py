"""The ffmpeg that encodes outputs and decodes inputs: the one that imageio-ffmpeg brings."""

from __future__ import annotations


def ffmpeg_program() -> str | None:
    """Its path, None where there is none."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
