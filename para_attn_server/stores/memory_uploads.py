"""Uploads in memory: the part of MemoryStore that is about them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice

from para_attn_server.core.errors import UploadNotFound
from para_attn_server.core.job import NewJob
from para_attn_server.core.uploads import Upload
from para_attn_server.stores.rows import Rows, UploadRow

_Key = tuple[str, str]


class MemoryUploads:
    """See UploadStore."""

    def _reading(self) -> AbstractContextManager[Rows]:
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[Rows]:
        raise NotImplementedError

    def _steadily(self, now: float) -> float:
        raise NotImplementedError

    def put_upload(self, upload: Upload) -> None:
        with self._writing() as rows:
            rows.put(rows.uploads, _key(upload), UploadRow(upload, self._steadily(upload.created_at), used=False))

    def upload(self, owner: str, digest: str) -> Upload | None:
        with self._reading() as rows:
            row = rows.uploads.get((owner, digest))
        return None if row is None else row.upload

    def remove_uploads(self, moment: float, steady: float, limit: int, unlink: Callable[[str], None]) -> int:
        with self._writing() as rows:
            in_use = {digest for job in rows.jobs.values() for digest in job.inputs}
            unused = [
                key
                for key, row in rows.uploads.items()
                if key[1] not in in_use and (row.used or (row.upload.created_at < moment and row.steady < steady))
            ]
            removed = list(islice(unused, limit))
            for key in removed:
                rows.put(rows.uploads, key, None)
                if all(digest != key[1] for _, digest in rows.uploads):
                    unlink(key[1])
        return len(removed)


def use_uploads(rows: Rows, new: NewJob) -> None:
    """Note which uploads a new job uses; raises UploadNotFound where one is not there any more."""
    for digest in new.inputs:
        row = rows.uploads.get((new.owner, digest))
        if row is None:
            raise UploadNotFound(digest)
        rows.put(rows.uploads, (new.owner, digest), row._replace(used=True))


def _key(upload: Upload) -> _Key:
    return upload.owner, upload.digest
