"""Replaces a function of para_attn, with the original at hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def mend(owner: Any, name: str, new: Callable[..., Any]) -> None:
    """Put `new`, called with the original before the arguments, in the place of an attribute."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def mended(*args: Any, **kwargs: Any) -> Any:
        return new(original, *args, **kwargs)

    setattr(owner, name, mended)
