"""Files among a request's arguments: each is uploaded, and its id stands in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from para_attn_server.client.errors import InvalidArgument
from para_attn_server.core.arguments.inputs import input_kinds, no_file


def has_files(value: Any) -> bool:
    """Whether a value is a path, or a list with paths in it."""
    several = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(each, PurePath) for each in several)


def with_ids(
    arguments: Mapping[str, Any], schema: Callable[[], Mapping[str, Any]], upload: Callable[[Path], str]
) -> dict[str, Any]:
    """The arguments with the id of an upload in the place of each path.

    schema: asked for where there are paths. Raises InvalidArgument for a path whose argument takes no file.
    """
    files = [name for name, value in arguments.items() if has_files(value)]
    inputs = input_kinds(schema()) if files else {}
    for name in files:
        if name not in inputs:
            raise InvalidArgument(name, no_file(inputs))
    return {name: _with_ids(value, upload) if name in files else value for name, value in arguments.items()}


def _with_ids(value: Any, upload: Callable[[Path], str]) -> Any:
    if isinstance(value, (list, tuple)):
        return [upload(Path(each)) if isinstance(each, PurePath) else each for each in value]
    return upload(Path(value)) if isinstance(value, PurePath) else value
