"""What a predictor may emit, and how it is told what it may not."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from para_attn_server.core.emitted import LARGEST_BINARY, LARGEST_JSON, OF_THE_SERVER, TooLarge, checked

LOOP: list[Any] = []
LOOP.append({"again": LOOP})


@pytest.mark.parametrize(
    "data", [None, True, 3, 0.5, "\u2028 ü", [1, [2]], {"a": {"b": (1, 2)}}, np.float64(0.5), {1: 2}]
)
def test_json_values_are_taken_as_they_are(data: Any) -> None:
    event = checked("boxes.v-2_x", data)
    assert json.loads(event.data) == json.loads(json.dumps(data)) and not event.binary


def test_bytes_of_every_kind_are_binary_and_copied() -> None:
    buffer = bytearray(b"\xff\xd8")
    events = [checked("preview", each) for each in (bytes(buffer), buffer, memoryview(buffer))]
    buffer[0] = 0
    assert all(event.binary and event.data == b"\xff\xd8" for event in events)


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (np.zeros(3), TypeError, "data is of type ndarray"),
        ({"a": [1, {"b": {1, 2}}]}, TypeError, r"data\['a'\]\[1\]\['b'\] is of type set.*give text"),
        ({"picture": b"x"}, TypeError, r"data\['picture'\] is of type bytes.*or bytes as the whole"),
        ([1.0, math.nan], ValueError, r"data\[1\] is nan.*finite"),
        ({"t": "\ud800"}, ValueError, r"data\['t'\] has a lone surrogate"),
        ({(1, 2): 3}, TypeError, "data has a key of type tuple"),
        (LOOP, ValueError, "data is nested in itself"),
    ],
)
def test_what_json_does_not_have_is_refused_by_its_place(data: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=rf"emit\('boxes'\): {says}"):
        checked("boxes", data)


@pytest.mark.parametrize("kind", ["", "Preview", "a b", "1st", "a" * 65, 3, None, "a\n"])
def test_a_kind_is_a_short_plain_word(kind: Any) -> None:
    with pytest.raises(ValueError, match="a kind is up to 64 small letters"):
        checked(kind, 1)


@pytest.mark.parametrize("kind", sorted(OF_THE_SERVER))
def test_the_servers_own_kinds_are_its_own(kind: str) -> None:
    with pytest.raises(ValueError, match="choose another name"):
        checked(kind, 1)


def test_text_is_text() -> None:
    assert checked("text", "a").text == "a" and checked("word", "a").text is None
    with pytest.raises(TypeError, match="data must be text, not int"):
        checked("text", 1)


def test_an_event_has_so_many_bytes_at_the_most() -> None:
    checked("a", "x" * (LARGEST_JSON - 2))
    checked("a", bytes(LARGEST_BINARY))
    for data in ("x" * (LARGEST_JSON - 1), bytes(LARGEST_BINARY + 1)):
        with pytest.raises(TooLarge, match=r"emit\('a'\): \d+ bytes of data, and an event may have up to"):
            checked("a", data)
