"""Resolves a model's name, as far as possible without importing it.

The command, the Python API and the controller ask here before anything starts; a rank, which imports, asks here first.
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
    """Raises UsageError for a short name that is not installed, a file that is not there, a file or module without a
    class, a path without `.py`, or weights that are not there.

    Weights are looked for only where `model_path` is a path by its form: any other may be a repo id on the model hub.
    """
    if name.endswith((".py", ".py:")):
        source_file(name.rstrip(":"))
        raise UsageError(f"--model: {name} has no :Class at its end; write {name.rstrip(':')}:Class")
    where, colon, attribute = name.rpartition(":")
    if colon:
        _check_place(where, attribute)
    else:
        entry_point(name)
    if model_path is not None and model_path.startswith(("/", ".", "~")) and not Path(model_path).exists():
        raise UsageError(f"--model-path: there is no {Path(model_path).absolute()}")


def entry_point(name: str) -> EntryPoint:
    """What a short name stands for; raises a UsageError that lists the known ones."""
    found = installed()
    if name not in found:
        if "/" in name:
            raise _not_a_module(name)
        close = difflib.get_close_matches(name[:100].lower(), found, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"--model: no predictor is named {name!r}; {hint}known names: {', '.join(found)}; "
            "a class of your own is given as module.path:Class or path/to/file.py:Class"
        )
    return found[name]


def _check_place(where: str, attribute: str) -> None:
    """Raises UsageError for a `where:attribute` that no import can find."""
    if where.endswith(".py"):
        source_file(where)
    elif "/" in where:
        raise _not_a_module(where, attribute)
    elif not all(where.split(".")):
        raise UsageError(f"--model: {where!r} is not a module's name; write module.path:Class or path/to/file.py:Class")
    if not attribute:
        raise UsageError(f"--model: {where}: has no class after the colon; write {where}:Class")


def _not_a_module(path: str, attribute: str = "") -> UsageError:
    hint = f"did you mean {path.rstrip('/')}.py:{attribute or 'Class'}?"
    return UsageError(f"--model: {path} is a path, but not of a .py file; {hint}")


def source_file(where: str) -> Path:
    """The file of `path/to/file.py:Class`; raises UsageError if there is none."""
    path = Path(os.path.expanduser(where)).absolute()  # noqa: PTH111 - never raises, where Path's own may
    if not path.is_file():
        raise UsageError(f"--model: there is no file {path}")
    return path
