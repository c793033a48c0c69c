"""Pictures, videos and sounds as arguments: what the schema says, what is refused at setup and by both checks."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from para_attn_server import AudioInput, ImageInput, VideoInput
from para_attn_server.core.arguments.inputs import Reference, input_kinds
from para_attn_server.core.arguments.model import arguments_model, dumped, parsed, values
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.arguments.shape import Shaper
from para_attn_server.core.arguments.texts import read_text
from para_attn_server.core.errors import InvalidInput, SetupFailed

A, B = "a" * 64, "b" * 64


def predict(
    image: Annotated[ImageInput, Field(description="What is changed.")],
    mask: ImageInput = None,  # type: ignore[assignment]
    references: Annotated[list[ImageInput], Field(max_length=2)] = [],  # noqa: B006
    clip: VideoInput | None = None,
    sounds: list[AudioInput] | None = None,
    pair: tuple[ImageInput, ...] = (),
    prompt: str = "x",
) -> None:
    """Takes files of every kind."""


MODEL = arguments_model(predict)
SCHEMA = request_schema(MODEL)
CHECK = RequestValidator(SCHEMA)


def test_the_schema_says_what_is_taken() -> None:
    image = {"type": "string", "format": "image-input", "contentMediaType": "image/*"}
    assert SCHEMA["properties"]["image"] == {**image, "title": "Image", "description": "What is changed."}
    assert SCHEMA["properties"]["mask"] == {"anyOf": [image, {"type": "null"}], "default": None, "title": "Mask"}
    assert SCHEMA["properties"]["references"]["items"] == image
    kinds = {
        "image": "image",
        "mask": "image",
        "references": "image",
        "clip": "video",
        "sounds": "audio",
        "pair": "image",
    }
    assert input_kinds(SCHEMA) == kinds
    assert SCHEMA["required"] == ["image"]


def test_web_and_ranks_judge_references_alike() -> None:
    body = {"image": A, "mask": None, "references": [A, B], "clip": B, "sounds": [B], "pair": [A]}
    found = values(parsed(MODEL, CHECK.validate(body)))
    assert found["references"] == [A, B] and isinstance(found["references"][0], Reference)
    assert (found["image"].kind, found["clip"].kind, found["sounds"][0].kind) == ("image", "video", "audio")
    assert found["pair"] == (A,) and found["mask"] is None
    for wrong in ("", "x", A[:-1], A.upper(), A + "\n", "data:image/png;base64,", 5, None, [A], {"id": A}):
        for check in (CHECK.check, lambda arguments: parsed(MODEL, arguments)):
            with pytest.raises(InvalidInput):
                check({"image": wrong})


def test_ranks_compare_digests() -> None:
    dump, as_they_came = dumped(parsed(MODEL, {"image": A, "references": [B]}), {})
    assert (dump["image_"], dump["references_"], as_they_came) == (A, [B], [])


def test_a_digest_says_nothing_of_how_long_a_job_takes() -> None:
    shaper = Shaper(SCHEMA)
    assert shaper.shape({"image": A, "mask": A}) == shaper.shape({"image": B, "mask": B})
    assert shaper.shape({"image": A, "references": [A]}) != shaper.shape({"image": A, "references": [A, B]})


class Nested(BaseModel):
    image: ImageInput


@pytest.mark.parametrize(
    "annotation", [Nested, set[ImageInput], dict[str, ImageInput], list[list[ImageInput]], tuple[ImageInput, int]]
)
def test_files_that_would_not_be_found_are_refused_at_setup(annotation: Any) -> None:
    def takes(x):  # type: ignore[no-untyped-def]
        """No more."""

    takes.__annotations__ = {"x": annotation}
    with pytest.raises(SetupFailed, match=r"argument 'x' cannot come from a request: .* write ImageInput or list"):
        arguments_model(takes)


def test_no_file_is_a_default() -> None:
    def takes(x: ImageInput = "cat.png") -> None:  # type: ignore[assignment]
        """No more."""

    with pytest.raises(SetupFailed, match="the default of predict's argument 'x' is refused"):
        arguments_model(takes)


@pytest.mark.parametrize(
    ("name", "instead"), [("Image", "ImageInput"), ("Video", "VideoInput"), ("Audio", "AudioInput")]
)
def test_what_predict_gets_is_no_annotation(name: str, instead: str) -> None:
    from PIL.Image import Image

    from para_attn_server import Audio, Video

    def takes(x):  # type: ignore[no-untyped-def]
        """No more."""

    takes.__annotations__ = {"x": {"Image": Image, "Video": Video, "Audio": Audio}[name]}
    with pytest.raises(SetupFailed, match=f"write {instead}, from para_attn_server"):
        arguments_model(takes)


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        ({"type": "string"}, "12", "12"),
        ({"type": "integer"}, "12", 12),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "12", "12"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "12", 12),
        ({"$ref": "#/$defs/Mode"}, "1", "1"),
        ({"type": "number"}, "NaN", "NaN"),
        ({"type": "array"}, "[" * 10**5, "[" * 10**5),
        ({}, "[1]", [1]),
    ],
)
def test_a_text_is_read_as_the_schema_wants_it(declared: dict[str, Any], text: str, value: object) -> None:
    schema = {"properties": {"x": declared}, "$defs": {"Mode": {"type": "string", "enum": ["1"]}}}
    assert read_text(text, "x", schema) == value
