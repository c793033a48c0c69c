"""Runs ffmpeg, as imageio-ffmpeg brings it: raw data on its standard input, a file as its result."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from para_attn_server.core import install
from para_attn_server.rank.encode.kinds import Unencodable
from para_attn_server.rank.encode.watch import Watch
from para_attn_server.rank.ffmpeg_program import ffmpeg_program

_NO_SPACE = "No space left on device"


def ffmpeg(of_input: list[str], of_output: list[str], path: Path, chunks: Iterable[bytes], watch: Watch) -> None:
    """Encode raw data into a file. of_input, of_output: options of each. watch: it ends ffmpeg where it is to stop.

    Raises Unencodable where ffmpeg is missing or refuses, OSError where the disk is full, Stopped.
    """
    command = [_program(path.suffix), "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    command += [*of_input, "-i", "pipe:0", *of_output, "file:" + str(path)]
    with tempfile.TemporaryFile() as said:
        running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        assert running.stdin is not None
        with watch.over(running):
            with contextlib.suppress(BrokenPipeError):  # it has ended, and its words and status say why
                for chunk in chunks:
                    running.stdin.write(chunk)
                running.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                running.stdin.close()
            status = running.wait()
            watch()
        said.seek(0)
        words = said.read().decode(errors="replace").strip()
    if _NO_SPACE in words:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    if status:
        last = words.splitlines()[-1] if words else f"status {status}"
        raise Unencodable(f"ffmpeg cannot write {path.suffix}: {last}")


def _program(suffix: str) -> str:
    if (program := ffmpeg_program()) is None:
        raise Unencodable(f"{suffix} needs ffmpeg, which is not installed: {install.VIDEO}")
    return program
