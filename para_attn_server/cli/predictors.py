"""`para-attn-server predictors`: the installed predictors and the arguments of their requests."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from para_attn_server.cli.child import ask
from para_attn_server.core.arguments.inputs import INPUTS
from para_attn_server.core.errors import UsageError
from para_attn_server.core.install import require_server

_BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
    "minLength": "length >=",
    "maxLength": "length <=",
    "pattern": "like",
}
_BESIDE_NAMES = 44  # columns at the least, on however narrow a terminal: a name is never cut


@click.command("predictors")
@click.argument("names", metavar="[MODEL]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: name, class, doc, schema and options of each.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the predictors with their parameters.

    Shows every predictor that is installed under a short name, or those named (as --model takes them: module.path:Class
    and path/to/file.py:Class too), with the options of its constructor, which --set takes. Bounds that a model knows
    only when it is loaded are in GET /schema of its server.

    \b
    Examples:
      para-attn-server predictors
      para-attn-server predictors demo
      para-attn-server predictors my_predictor.py:MyPredictor --json
    """
    require_server()
    described = ask("para_attn_server.rank.describe", *names)
    if as_json:
        click.echo(json.dumps(described, indent=2))
    else:
        _show(described)
    if wrong := [one["error"] for one in described if "usage" in one]:
        raise UsageError("; ".join(wrong))
    if any("error" in one for one in described):
        sys.exit(1)


def parameter_rows(schema: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Name, type, default, bounds and description of each parameter in a request schema."""
    required = schema.get("required", [])
    rows = []
    for name, declared in schema.get("properties", {}).items():
        known = resolved(declared, schema.get("$defs", {}))
        default = "required" if name in required else json.dumps(known["default"]) if "default" in known else ""
        rows.append((name, _type_text(known), default, _bounds_text(known), known.get("description", "")))
    return rows


def resolved(declared: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema with its `$ref` filled in, and that of `X | None` lifted to the top."""
    known = {**definitions.get(declared.get("$ref", "").removeprefix("#/$defs/"), {}), **declared}
    parts = [resolved(part, definitions) for part in known.get("anyOf", [])]
    if len(parts) == 2 and {"type": "null"} in parts:
        part = parts[0] if parts[1] == {"type": "null"} else parts[1]
        known = {**part, **known, "type": [part.get("type", "any"), "null"]}
    return known


def _type_text(known: dict[str, Any]) -> str:
    if "enum" in known:
        return " | ".join(json.dumps(value) for value in known["enum"])
    if "const" in known:
        return json.dumps(known["const"])
    if known.get("format") in INPUTS:
        return str(known["format"]).removesuffix("-input") + (" | null" if "null" in known.get("type", ()) else "")
    kind = known.get("type", "any")
    if kind == "array" and (item := known.get("items", {})).get("format") in INPUTS:
        return f"array of {_type_text(item)}s"
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def _or_required(default: str | None) -> str:
    return "required" if default is None else default


def _bounds_text(known: dict[str, Any]) -> str:
    return ", ".join(f"{words} {known[key]}" for key, words in _BOUNDS.items() if key in known)


def _show(described: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    from para_attn_server.cli.console import make_console

    console = make_console()
    for one in described:
        if "usage" in one:
            continue  # the command ends with it
        if "error" in one:
            console.print(f"[bold]{escape(one['name'])}[/bold]  cannot be used: {escape(one['error'])}\n")
            continue
        console.print(f"[bold]{escape(one['name'])}[/bold]  {escape(one['class'])}")
        if one["doc"]:
            console.print(escape(one["doc"]))
        rows = parameter_rows(one["schema"])
        options = [(each["name"], each["type"], _or_required(each["default"])) for each in one["options"]]
        console.width = max(console.width, max(len(row[0]) for row in (*rows, *options)) + _BESIDE_NAMES)
        for head, found in (("parameter", rows), ("option (--set)", options)):
            if found:
                others = [Column(title, overflow="fold") for title in ("type", "default", "bounds", "meaning")]
                table = Table(Column(head, no_wrap=True), *others[: len(found[0]) - 1], box=None, pad_edge=False)
                for row in found:
                    table.add_row(*map(escape, row))
                console.print(table, "")
