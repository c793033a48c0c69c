"""The identity of the model that the ranks load."""

from __future__ import annotations

import hashlib
from pathlib import Path

from para_attn_server.core.wire.launch import ModelSpec


def identity(model: ModelSpec) -> tuple[str, str]:
    """The model in words, and a version that changes with its code where that can be seen without importing it."""
    code = model.pickled or b""
    path = Path(model.name.rpartition(":")[0]).expanduser()
    if not code and path.suffix == ".py" and path.is_file():
        code = path.read_bytes()
    words = model.name if model.model_path is None else f"{model.name} with {model.model_path}"
    return words, hashlib.sha256(code).hexdigest()[:16]
