"""The server's command-line options, made from `core.settings.Settings`; this module declares none itself.

An option is named after its field, its help is the field's description, and click reads the environment variable too,
so that an error names the option and the variable it came from. `python -m para_attn_server.cli.options` prints
docs/settings.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from para_attn_server.core.settings import ENV_PREFIX, SECTIONS, Settings, parse_bytes, parse_duration

F = TypeVar("F", bound=Callable[..., Any])
_PAGE = """# Settings

Every setting is an option of `para-attn-server`, an environment variable, and an argument of `ParaAttentionServer`
(the option's name with underscores). An option wins over the environment. Durations take a unit: `500ms`, `10s`, `5m`,
`12h`, `7d`; a bare number is seconds. Sizes take `KiB`, `MiB`, `GiB`, `TiB` or `KB`, `MB`, `GB`, `TB`; a bare number is
bytes.

`python -m para_attn_server.cli.options` prints this page; a test compares them.
"""
_SEVERAL = {"object": "name=value", "array": "text"}
_BYTE_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_DURATION_UNITS = (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0))


def flag(name: str) -> str:
    """A setting's option: `num_devices` is `--num-devices`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """A setting's environment variable."""
    return ENV_PREFIX + name.upper()


def declared() -> dict[str, dict[str, Any]]:
    """Every setting's JSON Schema, with the keywords of `X | None` lifted to the top."""
    properties: dict[str, dict[str, Any]] = Settings.model_json_schema()["properties"]
    for schema in properties.values():
        for part in schema.pop("anyOf", []):
            if part != {"type": "null"}:
                schema.update(part)
    return properties


def sections() -> Iterator[tuple[str, list[str]]]:
    """Each section's title with its settings, in order."""
    found: list[tuple[str, list[str]]] = []
    for name in Settings.model_fields:
        if name in SECTIONS:
            found.append((SECTIONS[name], []))
        found[-1][1].append(name)
    return iter(found)


class SettingsCommand(click.Command):
    """A command with every setting as an option; its help shows them by section, its own options first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        rows = {param.name: row for param in self.get_params(ctx) if (row := param.get_help_record(ctx)) is not None}
        own = [row for name, row in rows.items() if name not in Settings.model_fields]
        for title, records in [("Options", own), *((title, [rows[n] for n in names]) for title, names in sections())]:
            with formatter.section(title):
                formatter.write_dl(records)


class Several(click.ParamType):
    """A text, of which there may be several; a variable holds one, or all of them as JSON."""

    def __init__(self, name: str) -> None:
        self.name = name

    def split_envvar_value(self, rv: str) -> list[str]:
        """The text as it is: values may have spaces."""
        return [rv]


class WholeNumber(click.IntRange):
    """A whole number within bounds; another value gets one message, whatever is wrong with it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            low = "" if self.min is None else f" from {self.min:g}"
            high = "" if self.max is None else f" to {self.max:g}"
            self.fail(f"must be a whole number{low}{high}, not {value!r}", param, ctx)


def setting_options(command: F) -> F:
    """Decorator: give a command every setting as an option. What the user left out arrives as None."""
    for name, schema in reversed(declared().items()):
        command = _option(name, schema)(command)
    return command


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The settings among a command's arguments that were given, by option or by environment."""
    return {name: value for name, value in options.items() if name in Settings.model_fields and value not in (None, ())}


def default_text(schema: dict[str, Any]) -> str:
    """A default as the user would write it; empty where there is none to show."""
    default = schema["default"]
    if default is None or default in ("", {}, []):
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    if schema.get("format") == "bytes":
        return _bytes_text(default)
    return _duration_text(default) if isinstance(default, float) else str(default)


def settings_page() -> str:
    """The page docs/settings.md: every setting as a row of its section's table."""
    lines, schemas = [_PAGE.rstrip("\n")], declared()
    for title, names in sections():
        lines += [
            f"\n## {title}\n",
            "| option | environment variable | default | meaning |",
            "| --- | --- | --- | --- |",
        ]
        for name in names:
            default = default_text(schemas[name])
            shown = f"`{default}`" if default else ""
            lines.append(f"| `{flag(name)}` | `{variable(name)}` | {shown} | {schemas[name]['description']} |")
    return "\n".join(lines)


def _option(name: str, schema: dict[str, Any]) -> Callable[[F], F]:
    keywords: dict[str, Any] = {
        "default": None,
        "show_default": default_text(schema) or False,
        "envvar": variable(name),
        "show_envvar": True,
        "help": schema["description"],
    }
    if schema["type"] == "boolean":
        return click.option(f"{flag(name)}/--no-{flag(name)[2:]}", name, **keywords)
    if schema["type"] in _SEVERAL:
        return click.option(flag(name), name, type=Several(_SEVERAL[schema["type"]]), multiple=True, **keywords)
    return click.option(flag(name), name, type=_click_type(schema), **keywords)


def _click_type(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return click.Choice(schema["enum"], case_sensitive=False)
    if schema.get("format") == "bytes":
        return _bytes(schema.get("minimum", 0))
    if schema["type"] == "integer":
        return WholeNumber(min=schema.get("minimum"), max=schema.get("maximum"))
    if schema["type"] == "number":
        return _duration(schema.get("exclusiveMinimum"))
    return click.Path(path_type=Path) if schema.get("format") == "path" else click.STRING


def _duration(more_than: float | None) -> Callable[[str], float]:
    def duration(text: str) -> float:
        try:
            seconds = float(parse_duration(text))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if more_than is not None and seconds <= more_than:
            raise click.BadParameter(f"must be more than {more_than:g}s")
        return seconds

    return duration


def _bytes(least: int) -> Callable[[str], int]:
    def bytes_(text: str) -> int:
        try:
            size = int(parse_bytes(text))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if size < least:
            raise click.BadParameter(f"must be at least {least}")
        return size

    return bytes_


def _bytes_text(size: int) -> str:
    unit, factor = next(((unit, factor) for unit, factor in _BYTE_UNITS if size and size % factor == 0), ("", 1))
    return f"{size // factor}{unit}"


def _duration_text(seconds: float) -> str:
    unit, size = next(((unit, size) for unit, size in _DURATION_UNITS if seconds % size == 0), ("s", 1.0))
    return f"{seconds / size:g}{unit}"


if __name__ == "__main__":
    click.echo(settings_page())
