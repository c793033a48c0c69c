"""The files that a run makes on this rank: the one at output_path, those that predict names besides, and those that are
made of what it returns.

Only rank zero's count. What is not named goes with the job's folder (core/output.py).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from para_attn_server.core import output
from para_attn_server.core.arguments import OUTPUT_PATH
from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.job import Output
from para_attn_server.core.media_types import MEDIA_TYPES
from para_attn_server.rank.encode.kinds import VIDEO, Kind, Unencodable, kind_of
from para_attn_server.rank.encode.parts import Part, parts_of
from para_attn_server.rank.encode.watch import Watch

MOST = 64
"""Outputs of one job."""
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class RunOutputs:
    """Of one run. output_path: the final one of its first output."""

    def __init__(self, output_path: str, job_id: str, rank: int) -> None:
        self._final, self._job_id, self._rank = Path(output_path), job_id, rank
        self._further: list[tuple[str, str]] = []
        self._facts: dict[Path, dict[str, Any]] = {}
        self._held: list[tuple[Path, Part]] = []

    @property
    def names(self) -> list[str]:
        """Of the files that predict has named besides."""
        return [name for name, _ in self._further]

    def another(self, suffix: str | None, role: str) -> Path:
        """Where predict writes one more output. Raises ValueError for a suffix or role that cannot be, or too many."""
        suffix = self._final.suffix if suffix is None else suffix
        if suffix.lower() not in MEDIA_TYPES and suffix != self._final.suffix:
            raise ValueError(f"output_path() takes a suffix that is known, such as .png or .json, not {suffix!r}")
        if not _ROLE.fullmatch(role):
            raise ValueError("output_path() takes a role of up to 32 small letters, digits, - and _")
        return self._next(suffix, role)

    def _next(self, suffix: str, role: str) -> Path:
        if len(self._further) + 1 >= MOST:
            raise ValueError(f"a job has up to {MOST} outputs")
        name = f"{self._final.stem}-{len(self._further) + 1}{suffix}"
        self._further.append((name, role))
        return output.temporary_path(self._final, self._job_id, self._rank).with_name(name)

    def others(self) -> list[str]:
        """Of the files that predict has written beside its outputs. Asked for before anything is encoded."""
        return [name for name in output.beside(self._final, self._job_id) if name not in self.names]

    @property
    def written(self) -> bool:
        """Whether something is at output_path."""
        return os.path.lexists(output.temporary_path(self._final, self._job_id, self._rank))

    def hold(self, returned: list[Any]) -> int:
        """Take what predict has returned out of that list, to be encoded by `write`; its bytes in memory.

        Its first part goes to output_path, each further one is another output. A name that the server has chosen gets a
        suffix that fits. Raises Unencodable, InvalidInput where the suffix that the request asks for does not fit.
        """
        asked = self._final.suffix
        parts = parts_of(returned, 0, VIDEO.takes(asked))
        first = parts[0].kind
        if not first.takes(asked):
            if not output.named_by_server(self._final, self._job_id):
                raise _unfit(first, asked)
            self._final = self._final.with_suffix(first.suffixes[0])
        paths = [output.temporary_path(self._final, self._job_id)]
        for part in parts[1:]:
            try:
                paths.append(self._next(asked if part.kind.takes(asked) else part.kind.suffixes[0], "output"))
            except ValueError as error:
                raise Unencodable(str(error)) from None
        self._held = list(zip(paths, parts, strict=True))
        return sum(part.size for part in parts)

    def write(self, watch: Watch) -> None:
        """Encode what is held, and let it go. Raises Unencodable, Stopped, OSError where the disk refuses."""
        try:
            while self._held:
                watch()
                path, part = self._held.pop(0)
                self._facts[path] = part.write(path, watch)
        finally:
            self._held.clear()

    def seal(self, on_block: Callable[[], None]) -> tuple[Output, ...]:
        """The finished files, the first one first. Raises what core.output.seal does; of a further one that is not
        there, FileNotFoundError with its name."""
        sealed = [self._sealed(self._final, on_block)]
        for name, role in self._further:
            try:
                sealed.append(replace(self._sealed(self._final.with_name(name), on_block), role=role))
            except output.OutputUnfit as error:
                raise output.OutputUnfit(f"{error} named {name}") from None
        return tuple(sealed)

    def _sealed(self, final: Path, on_block: Callable[[], None]) -> Output:
        sealed = output.seal(final, self._job_id, on_block)
        path = output.temporary_path(final, self._job_id)
        if path in self._facts:
            return replace(sealed, **self._facts[path])
        if sealed.media_type.startswith("image/"):
            width, height = _pixels(path)
            return replace(sealed, width=width, height=height)
        return sealed


def check_suffix(output_path: str, job_id: str, suffix: str) -> None:
    """Raises InvalidInput where a request asks for a format that a predictor which only returns cannot have.

    suffix: of its outputs, which says of what kind they are.
    """
    kind, path = kind_of(suffix), Path(output_path)
    asked = path.suffix
    if not (output.named_by_server(path, job_id) or asked == suffix or kind.takes(asked)):
        raise _unfit(kind, asked)


def _unfit(kind: Kind, suffix: str) -> InvalidInput:
    known = " ".join(kind.suffixes)
    return InvalidInput([FieldError(f"#/{OUTPUT_PATH}", f"{kind.name} is made: end in one of {known}, not {suffix}")])


def _pixels(path: Path) -> tuple[int, int] | tuple[None, None]:
    """Of a picture, by its header; unknown where Pillow does not read it."""
    from PIL import Image  # no rank without pictures needs it

    with contextlib.suppress(Exception), Image.open(path) as image:
        return image.size
    return None, None
