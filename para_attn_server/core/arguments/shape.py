"""The shape of a request: what the time of its run depends on, as far as its arguments show that.

Jobs of one shape are taken to last equally long (pool/cost.py). What counts, by an argument's value:

- integers and booleans as they are (width, height, steps, frames), but not seeds;
- other numbers to two digits, and a guidance scale only by whether it is above 1: at 1 and below, pipelines skip the
  second half of each step;
- text only where the model lists the choices (a scheduler, a quality); other optional text by whether it is given (a
  negative prompt), and required text (the prompt) not at all;
- lists by their length; objects and null not at all.

This module does not know how long anything takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from para_attn_server.core.arguments import OUTPUT_PATH
from para_attn_server.core.arguments.schema import options_of

_LARGEST, _HUGE = 10**9, 1e300
_GUIDANCE = ("guidance", "cfg")
_STEPS = ("num_inference_steps", "steps")
_FACTORS = ("width", "height", "num_frames", "num_images_per_prompt", "num_images", "batch_size")


class Shaper:
    """Gives the shapes of a model's requests. schema: of the request body, as the ranks reported it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        properties, definitions = schema.get("properties", {}), schema.get("$defs", {})
        optional = set(properties) - set(schema.get("required", ()))
        self._chosen = {name for name, of in properties.items() if _is_choice(of, definitions)}
        self._text_that_counts = self._chosen | optional

    def shape(self, arguments: Mapping[str, Any]) -> str:
        """The shape of a request with these arguments, as a JSON object."""
        parts = {name: self._part(name, value) for name, value in arguments.items() if not _is_ignored(name)}
        return json.dumps({name: part for name, part in parts.items() if part is not None}, sort_keys=True)

    def _part(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            given = value if name in self._chosen else bool(value)
            return given if name in self._text_that_counts else None
        if isinstance(value, list):
            return len(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value if isinstance(value, bool) else None
        if any(word in name for word in _GUIDANCE):
            return value > 1
        exact = isinstance(value, int) and abs(value) < _LARGEST
        return value if exact else float(f"{min(max(value, -_HUGE), _HUGE):.2g}")


def work(shape: str) -> float | None:
    """How much there is to do for a shape: steps times pixels, frames and pictures. None where it names no steps and
    no size. Only the ratio of two shapes of one model means anything."""
    parts = json.loads(shape) if shape else {}
    counts = [parts[name] for name in (*_FACTORS, *_STEPS) if _is_count(parts.get(name))]
    if not counts:
        return None
    result = 1.0
    for count in counts:
        result *= count
    return result


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_ignored(name: str) -> bool:
    return name == OUTPUT_PATH or "seed" in name


def _is_choice(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    return any("enum" in option or "const" in option for option in options_of(schema, definitions))
