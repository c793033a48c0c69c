"""Uploads, and what stands for a picture, video or sound in a request: the id of an upload, a data URL or base64.

A file is kept by the digest of its bytes, which is its id, and judged by its header. Ranks decode it. Nothing here
fetches URLs, and no text of a request is ever taken for the name of a file.
"""

from __future__ import annotations

import binascii
import functools
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from para_attn_server.core.arguments.inputs import WORDS
from para_attn_server.core.errors import FieldError, InvalidInput, UploadNotFound, UploadTooLarge
from para_attn_server.core.media import Media, NoMedia
from para_attn_server.core.media.limits import excess, unfit
from para_attn_server.core.settings import Settings
from para_attn_server.core.uploads import DIGEST, Upload
from para_attn_server.inputs.folder import InputFolder, input_folder
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.uploads import store_key

T = TypeVar("T")
OffLoop = Callable[[Callable[[], T]], T]
MOST_INPUTS = 64
"""Files that a job may take."""
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}:", re.IGNORECASE)


def in_place(work: Callable[[], T]) -> T:
    """Where nothing waits meanwhile."""
    return work()


class Uploads:
    """off_loop: does work that takes a while beside the web's loop."""

    def __init__(self, store: JobStore, settings: Settings, off_loop: OffLoop[Any] = in_place) -> None:
        self._store, self._settings, self._off_loop = store, settings, off_loop
        self._most, self._max_pixels = settings.max_upload, settings.max_pixels

    @functools.cached_property
    def _folder(self) -> InputFolder:
        return input_folder(self._settings, store_key(self._store))

    def keep(self, owner: str, blocks: Iterable[bytes], pointer: str = "#") -> Upload:
        """Keep the file of these bytes; the same ones again are the same upload, as new.

        pointer: to what the file is in the request. Raises InvalidInput for what is no picture, video or sound or has
        too many pixels, UploadTooLarge, InsufficientStorage, NotAccepting.
        """
        with self._folder.receive(blocks) as received:
            try:
                media: Media = self._off_loop(received.header)
            except NoMedia as error:
                raise InvalidInput([FieldError(pointer, f"the file is not accepted: {error}")]) from None
            if (too_large := excess(media, self._max_pixels)) is not None:
                raise InvalidInput([FieldError(pointer, f"the file is not accepted: {too_large}")])
            size = media.width, media.height, media.frames, media.duration
            upload = Upload(received.digest, media.media_type, media.kind, received.size, *size, owner, time.time())
            self._store.put_upload(upload)
            self._folder.place(received)
        return upload

    def find(self, owner: str, digest: str) -> Upload:
        """An upload of that owner; raises UploadNotFound."""
        found = self._store.upload(owner, digest)
        if found is None or not self._folder.has(digest):
            raise UploadNotFound(digest)
        return found

    def take(
        self, owner: str, kinds: Mapping[str, str], body: Mapping[str, Any]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The body with digests in the place of its pictures, videos and sounds; and the digests, each once.

        kinds: of the arguments that are such. What is no text is left to the check of the arguments. Raises
        InvalidInput naming each wrong one.
        """
        taken, wrong, found = dict(body), [], dict[str, None]()
        for name, value in body.items():
            if name not in kinds:
                continue
            texts = list(value) if isinstance(value, list) else [value]
            for index, text in enumerate(texts):
                pointer = f"#/{name}/{index}" if isinstance(value, list) else f"#/{name}"
                if not isinstance(text, str):
                    continue
                try:
                    texts[index] = self._taken(owner, text, kinds[name], pointer)
                except InvalidInput as error:
                    wrong += error.fields
                    continue
                found[texts[index]] = None
                if len(found) > MOST_INPUTS:
                    _refuse(pointer, f"a job takes {MOST_INPUTS} files at most")
            taken[name] = texts if isinstance(value, list) else texts[0]
        if wrong:
            raise InvalidInput(sorted(wrong, key=lambda field: field.pointer))
        return taken, tuple(found)

    def _taken(self, owner: str, text: str, kind: str, pointer: str) -> str:
        """The digest of what the text stands for."""
        if DIGEST.fullmatch(text):
            try:
                upload = self.find(owner, text)
            except UploadNotFound as error:
                _refuse(pointer, str(error))
        else:
            upload = self.keep(owner, [self._decoded(text, kind, pointer)], pointer)
        if (why := unfit(kind, upload)) is not None:
            _refuse(pointer, why)
        return upload.digest

    def _decoded(self, text: str, kind: str, pointer: str) -> bytes:
        data_url = _DATA_URL.match(text)
        if data_url is None and _URL.match(text):
            _refuse(pointer, f"is a URL, which the server does not fetch; it must be {WORDS[f'{kind}-input']}")
        start = data_url.end() if data_url else 0
        if (len(text) - start) * 3 // 4 - 2 > self._most:
            raise UploadTooLarge(self._most)
        try:
            data: bytes = self._off_loop(lambda: binascii.a2b_base64(text[start:], strict_mode=True))
        except ValueError:
            form = WORDS[f"{kind}-input"]
            _refuse(pointer, f"is no base64; it must be {form} (a file: curl -F NAME=@FILE, in Python Path(FILE))")
        return data


def _refuse(pointer: str, detail: str) -> NoReturn:
    raise InvalidInput([FieldError(pointer, detail)])
