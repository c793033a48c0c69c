"""The seeds that the server draws where a request leaves the seed out: from what the schema of `seed` allows."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from para_attn_server.core.arguments.schema import options_of

DRAW_ONE = -1
"""Where the bounds allow it, a seed of this value asks for one that is drawn; it is never drawn itself."""

_WIDTH = 2**32 - 1


class Seeds:
    """schema: of the argument `seed`, whose integers are drawn; definitions: the whole schema's `$defs`."""

    def __init__(self, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
        options = list(options_of(schema, definitions))
        whole = next((option for option in options if option.get("type") == "integer" and not _named(option)), None)
        named = [value for option in options for value in _named(option) if type(value) is int]
        self._pool: Sequence[int] = [*dict.fromkeys(named)] if whole is None else _range(whole)
        self.are_drawn = whole is not None or bool(named)

    def asked_for(self, value: Any, allowed: bool) -> bool:
        """Whether a request with this seed (None: without one) wants one that is drawn. allowed: -1 is valid."""
        return self.are_drawn and (value is None or (type(value) is int and value == DRAW_ONE and allowed))

    def empty(self) -> bool:
        """Whether no seed satisfies the schema, though it asks for integers."""
        return self.are_drawn and not self._pool

    def draw(self) -> int:
        """One of them; the pool must not be empty."""
        drawn = self._one()
        while drawn == DRAW_ONE and self._others():
            drawn = self._one()
        return drawn

    def _one(self) -> int:
        if isinstance(self._pool, range):  # len() has no word for the longest of them
            first, last, step = self._pool.start, self._pool.stop - 1, self._pool.step
            return first + step * secrets.randbelow((last - first) // step + 1)
        return secrets.choice(self._pool)

    def _others(self) -> bool:
        ends: Iterable[int] = (self._pool[0], self._pool[-1]) if self._pool else ()
        return any(end != DRAW_ONE for end in ends)


def _named(option: Mapping[str, Any]) -> list[Any]:
    return list(option.get("enum", [option["const"]] if "const" in option else []))


def _range(option: Mapping[str, Any]) -> range:
    low, high = _full_range(
        option.get("minimum", option.get("exclusiveMinimum", math.nan) + 1),
        option.get("maximum", option.get("exclusiveMaximum", math.nan) - 1),
    )
    step = max(1, int(option.get("multipleOf", 1)))
    return range(-(-low // step) * step, high + 1, step)


def _full_range(low: float, high: float) -> tuple[int, int]:
    """The range of a seed; a bound that is not given (NaN) makes it 32 bits wide, from zero where that is allowed."""
    if math.isnan(low):
        low = 0 if not high < 0 else high - _WIDTH
    return int(low), int(low + _WIDTH if math.isnan(high) else high)
