"""Pictures, videos and sounds as arguments of predict: `image: ImageInput`.

In a request such an argument is the id of an upload, a data URL or base64. The web keeps the file, and puts the digest
of its bytes in the argument's place (service/uploads.py); the ranks check that with the same type, and give predict
what they decode (rank/inputs.py). Nothing here looks at files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic_core import core_schema

from para_attn_server.core.uploads import DIGEST

if TYPE_CHECKING:
    from PIL.Image import Image

    from para_attn_server.core.results import Audio, Video

    ImageInput: TypeAlias = Image
    VideoInput: TypeAlias = Video
    AudioInput: TypeAlias = Audio
else:

    class _Input:
        kind: ClassVar[str]

        @classmethod
        def __get_pydantic_core_schema__(cls, _source, _handler):
            def reference(text):
                if not DIGEST.fullmatch(text):
                    raise ValueError("must be the id of an upload: 64 hexadecimal digits")
                return Reference.of(cls.kind, text)

            return core_schema.no_info_after_validator_function(reference, core_schema.str_schema())

        @classmethod
        def __get_pydantic_json_schema__(cls, _schema, _handler):
            return {"type": "string", "format": f"{cls.kind}-input", "contentMediaType": f"{cls.kind}/*"}

    class ImageInput(_Input):
        """A picture. predict gets a PIL.Image.Image in RGB, upright as its EXIF data says; of an animated one the first
        frame. What is transparent becomes white."""

        kind = "image"

    class VideoInput(_Input):
        """A video, or an animated picture. predict gets a Video: its frames as PIL pictures, and their rate."""

        kind = "video"

    class AudioInput(_Input):
        """A sound. predict gets an Audio: samples as a float32 array of shape (channels, samples), and their rate."""

        kind = "audio"


INPUTS: dict[str, Any] = {"image-input": ImageInput, "video-input": VideoInput, "audio-input": AudioInput}
"""The types by their format in a JSON Schema."""
WORDS = {
    f"{kind}-input": f"{what}: the id of an upload, a data URL, or the file in base64"
    for kind, what in {"image": "a picture", "video": "a video", "audio": "a sound"}.items()
}
"""What a request may hold for each, in words."""
NESTED = (
    "a picture, video or sound is an argument by itself, or in a list: write ImageInput or list[ImageInput], each "
    "with `| None` where it is optional"
)


class Reference(str):
    """The digest of an upload, in the place of what a rank decodes. kind: `image`, `video` or `audio`."""

    kind: str

    @classmethod
    def of(cls, kind: str, digest: str) -> Reference:
        """That digest."""
        made = cls(digest)
        made.kind = kind
        return made


def input_kinds(schema: Mapping[str, Any]) -> dict[str, str]:
    """The arguments that are inputs, and those that are lists of them, each with its kind."""
    found = ((name, _format(of)) for name, of in schema.get("properties", {}).items())
    return {name: form.removesuffix("-input") for name, form in found if form is not None}


def no_file(inputs: Mapping[str, Any]) -> str:
    """Why an argument that is no input takes no file. inputs: the model's, by name."""
    takers = f"files go to {', '.join(inputs)}" if inputs else "the model takes no files"
    return f"takes no file; {takers}"


def misplaced(schema: Mapping[str, Any]) -> bool:
    """Whether an input is where its upload would not be found: deeper than in a list."""
    kinds = input_kinds(schema)
    found = sum(sum(1 for _ in _formats(schema["properties"][name])) for name in kinds)
    sets = any(option.get("uniqueItems") for name in kinds for option in _options(schema["properties"][name]))
    return sets or sum(1 for _ in _formats(schema)) > found


def _format(declared: Mapping[str, Any]) -> str | None:
    for option in _options(declared):
        for each in (option, *_options(option.get("items", {}))):
            if each.get("format") in INPUTS:
                return str(each["format"])
    return None


def _options(declared: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(declared.get("anyOf", [declared]))


def _formats(node: Any) -> Iterator[str]:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _formats(value)
    if isinstance(node, dict) and node.get("format") in INPUTS:
        yield node["format"]
