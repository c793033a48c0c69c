"""What predict gets for its pictures, videos and sounds: decoded from uploads.

Every rank decodes the same files with the same code before the ranks agree on the run, so what fails here fails on all
of them as `invalid_input`. A header may lie, so decoding counts for itself and stops at what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from para_attn_server.core.arguments.inputs import Reference
from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.media import NoMedia, read_header
from para_attn_server.core.media.limits import excess, unfit
from para_attn_server.rank.inputs.pictures import animation, picture
from para_attn_server.rank.inputs.streams import sound, video
from para_attn_server.rank.inputs.undecodable import Undecodable


def decoded(arguments: Mapping[str, Any], paths: Mapping[str, str], max_pixels: int) -> dict[str, Any]:
    """The arguments with what was decoded in the place of each Reference. paths: of the files, by their digests.

    Raises InvalidInput naming the first one that cannot be decoded.
    """
    return {name: _replaced(value, f"#/{name}", paths, max_pixels) for name, value in arguments.items()}


def _replaced(value: Any, pointer: str, paths: Mapping[str, str], max_pixels: int) -> Any:
    if isinstance(value, Reference):
        try:
            return _decoded(value.kind, Path(paths[value]), max_pixels)
        except (FileNotFoundError, KeyError):
            why = "its file is not there any more; send it again"
        except Undecodable as error:
            why = str(error)
        raise InvalidInput([FieldError(pointer, why)])
    if isinstance(value, list | tuple):
        return type(value)(_replaced(each, f"{pointer}/{n}", paths, max_pixels) for n, each in enumerate(value))
    return value


def _decoded(kind: str, path: Path, max_pixels: int) -> Any:
    try:
        with path.open("rb") as file:
            media = read_header(file)
    except NoMedia as error:
        raise Undecodable(str(error)) from None
    if (why := unfit(kind, media) or excess(media, max_pixels)) is not None:
        raise Undecodable(why)
    if kind == "image":
        return picture(path, media.media_type, max_pixels)
    if kind == "audio":
        return sound(path, media.media_type, max_pixels)
    decode = animation if media.kind == "image" else video
    return decode(path, media.media_type, max_pixels)
