"""The files that a run makes on this rank: the one at output_path, and those that predict names besides.

Only rank zero's count. What is not named goes with the job's folder (core/output.py).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from para_attn_server.core import output
from para_attn_server.core.job import Output
from para_attn_server.core.media_types import MEDIA_TYPES

MOST = 64
"""Outputs of one job."""
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class RunOutputs:
    """Of one run. output_path: the final one of its first output."""

    def __init__(self, output_path: str, job_id: str, rank: int) -> None:
        self._final, self._job_id, self._rank = Path(output_path), job_id, rank
        self._further: list[tuple[str, str]] = []

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
        if len(self._further) + 1 >= MOST:
            raise ValueError(f"a job has up to {MOST} outputs")
        name = f"{self._final.stem}-{len(self._further) + 1}{suffix}"
        self._further.append((name, role))
        return output.temporary_path(self._final, self._job_id, self._rank).with_name(name)

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
        if sealed.media_type.startswith("image/"):
            width, height = _pixels(output.temporary_path(final, self._job_id))
            return replace(sealed, width=width, height=height)
        return sealed


def _pixels(path: Path) -> tuple[int, int] | tuple[None, None]:
    """Of a picture, by its header; unknown where Pillow does not read it."""
    from PIL import Image  # no rank without pictures needs it

    with contextlib.suppress(Exception), Image.open(path) as image:
        return image.size
    return None, None
