"""Uploads in a SQL database: the part of SqlStore that is about them, with its statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, insert, or_, select, update

from para_attn_server.core.errors import UploadNotFound
from para_attn_server.core.job import NewJob
from para_attn_server.core.uploads import Upload
from para_attn_server.stores.tables import job_inputs, uploads

if TYPE_CHECKING:
    from para_attn_server.stores.sql import SqlHandle

_COLUMNS = tuple(uploads.c[field.name] for field in fields(Upload))
_IS_IT = and_(uploads.c.owner == bindparam("of_owner"), uploads.c.digest == bindparam("of_digest"))
_INSERT = insert(uploads).values(used=False)
_DELETE = delete(uploads).where(_IS_IT)
_GET = select(*_COLUMNS).where(_IS_IT)
_USE = update(uploads).where(_IS_IT).values(used=True)
_INSERT_INPUT = insert(job_inputs)
_OF_DIGEST = select(uploads.c.digest).where(uploads.c.digest == bindparam("of_digest")).limit(1)
_UNUSED = (
    select(uploads.c.owner, uploads.c.digest)
    .where(
        or_(
            uploads.c.used,
            and_(uploads.c.created_at < bindparam("moment"), uploads.c.created_steady < bindparam("steady")),
        ),
        ~exists().where(job_inputs.c.digest == uploads.c.digest),
    )
    .order_by(uploads.c.created_at)
    .limit(bindparam("most"))
)


class SqlUploads:
    """See UploadStore."""

    handle: SqlHandle

    def _now(self, now: float) -> dict[str, float]:
        raise NotImplementedError

    def put_upload(self, upload: Upload) -> None:
        row = {**asdict(upload), "created_steady": self._now(upload.created_at)["steady"]}
        with self.handle.writing() as connection:
            connection.execute(_DELETE, _key(upload.owner, upload.digest))
            connection.execute(_INSERT, row)

    def upload(self, owner: str, digest: str) -> Upload | None:
        with self.handle.reading() as connection:
            row = connection.execute(_GET, _key(owner, digest)).first()
        return None if row is None else Upload(*row)

    def remove_uploads(self, moment: float, steady: float, limit: int, unlink: Callable[[str], None]) -> int:
        values = {"moment": moment, "steady": steady, "most": limit}
        with self.handle.reading() as connection:  # often without success: no transaction for nothing
            if connection.execute(_UNUSED, values).first() is None:
                return 0
        with self.handle.writing() as connection:
            found = connection.execute(_UNUSED, values).all()
            for owner, digest in found:
                connection.execute(_DELETE, _key(owner, digest))
                if connection.execute(_OF_DIGEST, {"of_digest": digest}).first() is None:
                    unlink(digest)
        return len(found)


def use_uploads(connection: Connection, new: NewJob) -> None:
    """Note which uploads a new job uses; raises UploadNotFound where one is not there any more."""
    for digest in dict.fromkeys(new.inputs):
        if not connection.execute(_USE, _key(new.owner, digest)).rowcount:
            raise UploadNotFound(digest)
        connection.execute(_INSERT_INPUT, {"job_id": new.id, "digest": digest})


def _key(owner: str, digest: str) -> dict[str, Any]:
    return {"of_owner": owner, "of_digest": digest}
