"""Where a model's name leads, as far as that can be told without importing anything of it.

The command, the Python API and the daemon ask here before anything starts; a rank, which imports, asks here first.
"""

from __future__ import annotations

import difflib
import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from para_attn_server.core.errors import UsageError

ENTRY_POINT_GROUP = "para_attn_server.predictors"


def installed() -> dict[str, EntryPoint]:
    """The predictors that are installed under a short name, by that name."""
    return {entry.name: entry for entry in sorted(entry_points(group=ENTRY_POINT_GROUP))}


def check_model(name: str, model_path: str | None = None) -> None:
    """Raises UsageError for a short name that is not installed, a file that is not there, or weights that are not.

    Weights are looked for only where `model_path` is a path by its form: any other may be a repo id on the model hub.
    """
    where, colon, _ = name.rpartition(":")
    if not colon:
        entry_point(name)
    elif where.endswith(".py"):
        source_file(where)
    if model_path is not None and model_path.startswith(("/", ".", "~")) and not Path(model_path).exists():
        raise UsageError(f"--model-path: there is no {Path(model_path).absolute()}")


def entry_point(name: str) -> EntryPoint:
    """What a short name stands for; raises UsageError that tells the known ones."""
    found = installed()
    if name not in found:
        close = difflib.get_close_matches(name[:100].lower(), found, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"--model: no predictor is named {name!r}; {hint}known names: {', '.join(found)}; "
            "a class of your own is given as module.path:Class or path/to/file.py:Class"
        )
    return found[name]


def source_file(where: str) -> Path:
    """The file of `path/to/file.py:Class`; raises UsageError if there is none."""
    path = Path(os.path.expanduser(where)).absolute()  # noqa: PTH111 - never raises, where Path's own may
    if not path.is_file():
        raise UsageError(f"--model: there is no file {path}")
    return path
