"""From the words of a command line to the JSON arguments of a request. The server judges them; nothing is checked here
but that a value can be read as the kind of value that the server's schema asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from para_attn_server.core.arguments.inputs import input_kinds
from para_attn_server.core.arguments.texts import is_list, read_text

PROMPT = "prompt"
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def request_arguments(words: Iterable[str], params: Iterable[str], schema: dict[str, Any]) -> dict[str, Any]:
    """Words of the form NAME=VALUE and params become arguments, the other words the prompt. `NAME=@FILE` is a Path
    where the argument takes a picture, video or sound.

    Raises click.UsageError for a param that is not NAME=VALUE, and for words if the model has no prompt.
    """
    assigned: list[tuple[str, str]] = []
    prompt: list[str] = []
    for word in words:
        match = _ASSIGNMENT.fullmatch(word)
        if match:
            assigned.append((match[1], match[2]))
        else:
            prompt.append(word)
    assigned += [_assignment(param) for param in params]
    arguments = _values(assigned, schema)
    if prompt:
        if PROMPT not in schema.get("properties", {}):
            known = ", ".join(schema.get("properties", {}))
            raise click.UsageError(f"this model has no prompt; use NAME=VALUE instead, with NAME one of: {known}")
        arguments[PROMPT] = " ".join(prompt)
    return arguments


def _values(assigned: Iterable[tuple[str, str]], schema: dict[str, Any]) -> dict[str, Any]:
    """What the texts stand for. Files may be given one by one to an argument that takes several."""
    inputs, found = input_kinds(schema), dict[str, Any]()
    for name, text in assigned:
        file = name in inputs and text.startswith("@")
        value = _file(name, text[1:]) if file else read_text(text, name, schema)
        if name in inputs and is_list(name, schema):
            value = [*found.get(name, ()), *(value if isinstance(value, list) else [value])]
        found[name] = value
    return found


def _file(name: str, path: str) -> Path:
    if not Path(path).is_file():
        raise click.UsageError(f"{name}: there is no file {path}")
    return Path(path)


def _assignment(param: str) -> tuple[str, str]:
    match = _ASSIGNMENT.fullmatch(param)
    if match is None:
        raise click.UsageError(f"--param must be NAME=VALUE, not {param!r}")
    return match[1], match[2]
