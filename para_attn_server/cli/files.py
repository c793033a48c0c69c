"""Files among the arguments of `try`: judged as a server would, and named by their digests as ranks expect it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from para_attn_server.core.arguments.inputs import input_kinds
from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.media import NoMedia, read_header
from para_attn_server.core.media.limits import excess, unfit


def with_digests(
    arguments: dict[str, Any], schema: dict[str, Any], max_pixels: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments with a digest in the place of each Path; and the paths by their digests. Raises InvalidInput."""
    paths: dict[str, str] = {}

    def digest(name: str, kind: str, value: Any) -> Any:
        if isinstance(value, list):
            return [digest(f"{name}/{index}", kind, each) for index, each in enumerate(value)]
        if isinstance(value, str):
            raise InvalidInput([FieldError(f"#/{name}", f"must be a file: {name.partition('/')[0]}=@FILE")])
        if not isinstance(value, Path):
            return value
        found = _checked(name, kind, value, max_pixels)
        paths[found] = str(value.absolute())
        return found

    kinds = input_kinds(schema)
    taken = {name: digest(name, kinds[name], value) if name in kinds else value for name, value in arguments.items()}
    return taken, paths


def _checked(name: str, kind: str, path: Path, max_pixels: int) -> str:
    with path.open("rb") as file:
        try:
            media = read_header(file)
        except NoMedia as error:
            raise InvalidInput([FieldError(f"#/{name}", f"{path} is not accepted: {error}")]) from None
        if (why := unfit(kind, media) or excess(media, max_pixels)) is not None:
            raise InvalidInput([FieldError(f"#/{name}", why)])
        return hashlib.file_digest(file, "sha256").hexdigest()
