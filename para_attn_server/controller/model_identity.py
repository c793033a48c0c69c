"""The models that the ranks load, by the settings, and the identity of each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from para_attn_server.core.models import found_models
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import ModelSpec, ServedModel
from para_attn_server.pool.model_info import Identity


def served_models(settings: Settings) -> list[ServedModel]:
    """Those that the command serves, the default one first; modules are looked for in the working folder, too.

    Raises UsageError.
    """
    return [model.served([str(Path.cwd())]) for model in found_models(settings)]


def identity(model: ModelSpec) -> Identity:
    """The model in words, and a version that changes with its code where that can be seen without importing it."""
    code = model.pickled or b""
    path = Path(model.name.rpartition(":")[0]).expanduser()
    if not code and path.suffix == ".py" and path.is_file():
        code = path.read_bytes()
    code += json.dumps(model.options, sort_keys=True).encode() if model.options else b""
    words = model.name if model.model_path is None else f"{model.name} with {model.model_path}"
    return Identity(model.served_as, words, hashlib.sha256(code).hexdigest()[:16])
