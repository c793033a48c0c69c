"""Uploads: the files that jobs take. Each is known by the SHA-256 of its bytes, to the owner who has sent it.

The bytes are below the output root, which every rank can read wherever it runs: ranks write there. This module has the
place, since ranks' paths are made from it; what is done there is `inputs/folder.py`'s business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from para_attn_server.core.job import ANONYMOUS

FOLDER = ".inputs"
"""Below the output root."""
DIGEST = re.compile(r"[0-9a-f]{64}")
UNUSED_FOR = 3600.0
"""Seconds for which an upload is kept that no job uses."""
FRAMES_AT_MOST = 8
"""Times --max-pixels: the pixels that all frames of a video may have together."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a client has sent, as its header describes it (core/media/). digest: SHA-256 of its bytes, in hex."""

    digest: str
    media_type: str
    kind: str
    size: int
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    duration: float | None = None
    owner: str = ANONYMOUS
    created_at: float = 0.0


def input_path(root: str | Path, store_key: str, digest: str) -> Path:
    """Where the bytes of that digest are. root: of the outputs, which servers may share. store_key: of the store that
    knows the upload: what one removes another may still have."""
    return Path(root) / FOLDER / store_key / digest[:2] / digest
