"""Makes values the encoder's own: none of their memory may be written to by the next run of a pipeline.

What nobody else holds is taken as it is, since a copy of a video takes longer than a step. Whether that is so says the
interpreter's count of references: whoever keeps a list, a Video or a base array keeps what is in it, too. Everything
else is copied. Values are named by a list and an index; the list must be the caller's own.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from PIL import Image

Array = np.ndarray[Any, Any]


def _count(items: list[Any], index: int) -> int:
    return sys.getrefcount(items[index])


_ALONE = _count([object()], 0)
"""The count of what only a list holds."""


def image(items: list[Any], index: int) -> Image.Image:
    """A picture, loaded."""
    if type(items[index]) is Image.Image and not items[index].readonly and _count(items, index) == _ALONE:
        pixels = [items[index].im]  # which copy.copy() shares
        if _count(pixels, 0) == _ALONE + 1:
            return items[index]
    return items[index].copy()


def array(items: list[Any], index: int) -> Array:
    """An array, or a tensor of any device as one; floats of a tensor as float32."""
    if isinstance(items[index], torch.Tensor):
        moved = items[index].detach().to("cpu", copy=True)
        return (moved.float() if moved.is_floating_point() else moved).numpy()
    return np.asarray(items[index]) if _is_alone(items, index) else np.array(items[index])


def _is_alone(items: list[Any], index: int) -> bool:
    if type(items[index]) is not np.ndarray or _count(items, index) != _ALONE:
        return False
    base = [items[index].base]
    if base[0] is None:
        return bool(items[index].flags.owndata)
    return type(base[0]) is np.ndarray and bool(base[0].flags.owndata) and _count(base, 0) == _ALONE + 1
