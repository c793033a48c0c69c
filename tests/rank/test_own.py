"""What predict has returned becomes the encoder's own: copied where somebody else holds it, and only there."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_output import FluxPipelineOutput
from diffusers.utils import BaseOutput
from PIL import Image

from para_attn_server.core.results import Audio, Video
from para_attn_server.rank.encode import own
from para_attn_server.rank.encode.parts import parts_of

KEPT: list[Any] = []


def picture(color: str = "red") -> Image.Image:
    return Image.new("RGB", (8, 6), color)


def pixels() -> np.ndarray[Any, Any]:
    return np.zeros((6, 8, 3), np.uint8)


def kept(value: Any) -> Any:
    """Somebody holds it besides."""
    KEPT[:] = [value]
    return value


def mapped() -> Image.Image:
    """Shares its memory with an array."""
    return Image.fromarray(np.zeros((6, 8, 4), np.uint8))


def lazy() -> Image.Image:
    """Not read yet."""
    file = io.BytesIO()
    picture().save(file, "PNG")
    return Image.open(file)


def shallow() -> Image.Image:
    """Another one has the same pixels."""
    whole = kept(picture())
    return whole._new(whole.im)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "copied"),
    [
        (picture, False),
        (lambda: kept(picture()), True),
        (mapped, True),
        (lazy, True),
        (shallow, True),
        (pixels, False),
        (lambda: pixels()[::2], False),
        (lambda: np.moveaxis(pixels(), 2, 0)[:2], False),
        (lambda: kept(pixels()), True),
        (lambda: kept(pixels())[::2], True),
        (lambda: torch.zeros(6, 8).numpy(), True),
        (lambda: np.frombuffer(bytearray(48), np.uint8).reshape(6, 8), True),
    ],
)
def test_only_what_somebody_else_may_change_is_copied(make: Callable[[], Any], copied: bool) -> None:
    items = [make()]
    before = id(items[0])
    array = isinstance(items[0], np.ndarray)
    taken = own.array(items, 0) if array else own.image(items, 0)
    assert (id(taken) != before) == copied
    assert np.array_equal(np.asarray(taken), np.asarray(items[0]))
    assert not array or not copied or not np.shares_memory(taken, items[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8])
def test_a_tensor_is_always_copied(dtype: torch.dtype) -> None:
    tensor = torch.ones(2, 3, dtype=dtype)
    taken = own.array([tensor], 0)
    tensor.zero_()
    assert taken.tolist() == [[1] * 3] * 2
    assert taken.dtype == (np.uint8 if dtype is torch.uint8 else np.float32)
    wide = own.array([torch.ones(1, 2).expand(3, 2)], 0)
    assert wide.nbytes == 3 * 2 * 4


class Frames(BaseOutput):
    """As the outputs of video pipelines are."""

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)


FRESH: dict[str, Callable[[], Any]] = {
    "picture": picture,
    "pictures": lambda: [picture(), picture()],
    "pipeline": lambda: FluxPipelineOutput(images=[picture()]),
    "pipeline's array": lambda: FluxPipelineOutput(images=np.zeros((1, 6, 8, 3), np.float32)),
    "video": lambda: Video([picture(), picture()]),
    "video's array": lambda: Video(np.zeros((2, 6, 8, 3), np.uint8)),
    "video pipeline": lambda: Frames(frames=[[picture(), picture()]]),
    "video pipeline's array": lambda: Frames(frames=np.zeros((1, 2, 6, 8, 3), np.float32)),
    "mixed": lambda: [{"a": 1}, Video([picture()]), np.zeros((6, 8), np.uint8)],
    "audio": lambda: Audio(np.zeros(9, np.float32), 8000),
}


@pytest.mark.parametrize("name", FRESH)
def test_what_a_predictor_has_just_made_is_not_copied(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[object] = []
    monkeypatch.setattr(Image.Image, "copy", lambda image: copies.append(image) or image)
    monkeypatch.setattr(own.np, "array", lambda array: copies.append(array) or array)
    held = [FRESH[name]()]
    assert sum(part.size for part in parts_of(held, 0, moving=False)) > 0
    assert not copies


@pytest.mark.parametrize("name", FRESH)
def test_what_it_keeps_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[object] = []
    whole, array = Image.Image.copy, np.array
    monkeypatch.setattr(Image.Image, "copy", lambda image: copies.append(image) or whole(image))
    monkeypatch.setattr(own.np, "array", lambda value: copies.append(value) or array(value))
    held = [kept(FRESH[name]())]
    parts_of(held, 0, moving=False)
    assert copies
    KEPT.clear()
