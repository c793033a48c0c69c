"""The model that the ranks load, by the settings, and its identity."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import ModelSpec


def model_of(settings: Settings) -> ModelSpec:
    """The one that the command serves: modules are looked for in the working folder, too."""
    return ModelSpec(settings.model, settings.model_path, None, [str(Path.cwd())], settings.set)


def identity(model: ModelSpec) -> tuple[str, str]:
    """The model in words, and a version that changes with its code where that can be seen without importing it."""
    code = model.pickled or b""
    path = Path(model.name.rpartition(":")[0]).expanduser()
    if not code and path.suffix == ".py" and path.is_file():
        code = path.read_bytes()
    code += json.dumps(model.options, sort_keys=True).encode() if model.options else b""
    words = model.name if model.model_path is None else f"{model.name} with {model.model_path}"
    return words, hashlib.sha256(code).hexdigest()[:16]
