"""What a job store knows of uploads: which there are, and which of them a job uses.

The files are elsewhere (inputs/folder.py). One gets its name after its upload is on record, and is removed within the
write that forgets the upload: so no file is left without one, and none is removed that has come again meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from para_attn_server.core.uploads import Upload

if TYPE_CHECKING:
    from para_attn_server.stores.base import JobStore

_DOCUMENT = "uploads"


def store_key(store: JobStore) -> str:
    """Keeps this store's uploads apart from those of others below one output root; made where it has none."""
    known = store.document(_DOCUMENT)
    if known is None:
        known = {"key": secrets.token_hex(8)}
        store.put_document(_DOCUMENT, known)
    return str(known["key"])


class UploadStore(Protocol):
    """The part of a JobStore that is about uploads. One of an owner's is known by its digest."""

    def put_upload(self, upload: Upload) -> None:
        """Note an upload, at its `created_at`; one that is there already counts as new. Durable when this returns."""

    def upload(self, owner: str, digest: str) -> Upload | None:
        """That upload, None if there is none."""

    def remove_uploads(self, moment: float, steady: float, limit: int, unlink: Callable[[str], None]) -> int:
        """Forget uploads that no job uses: those that a job has used, and those from before both moments. How many.

        unlink: called within the transaction with each digest that no other owner's upload has; where it raises,
        nothing is forgotten.
        """
