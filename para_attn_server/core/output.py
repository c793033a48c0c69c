"""An output file's last moments: written under a temporary name, then renamed, so that nobody sees half a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from para_attn_server.core.job import Output
from para_attn_server.core.media_types import media_type


def temporary_path(output_path: str | Path, job_id: str) -> Path:
    """Where predict writes: beside the final file, hidden, with the same suffix (libraries choose formats by it)."""
    final = Path(output_path)
    return final.with_name(f".{job_id}.part{final.suffix}")


def publish(temporary: Path, output_path: str | Path) -> Output:
    """Give the temporary file its final name, in one step.

    Not flushed to disk first: what must outlast a loss of power is the accepted job, and its output can be made again.
    Raises FileNotFoundError when predict wrote nothing, other OSErrors when the disk refuses.
    """
    final = Path(output_path)
    digest = hashlib.sha256()
    with temporary.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        size = file.tell()
    temporary.replace(final)
    return Output(str(final), media_type(final), size, digest.hexdigest())
