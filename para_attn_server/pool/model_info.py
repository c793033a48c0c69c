"""What the web knows of the served model, by the store: the request schema that the ranks reported.

It outlives a restart, so that jobs are accepted while the model is still being loaded; it does not outlive a change of
the model.
"""

from __future__ import annotations

from typing import Any

import structlog

from para_attn_server.core.errors import StateDirError
from para_attn_server.core.wire.ranks import Ready
from para_attn_server.stores.base import SCHEMA_DOCUMENT, JobStore

log = structlog.get_logger()


class ModelInfoWriter:
    """Keeps the `schema` document of a store.

    model: which model is served, in words. version: changes when the model's code does, as far as that can be seen.
    """

    def __init__(self, model: str, version: str) -> None:
        self.model, self._version = model, version

    def claim(self, store: JobStore) -> None:
        """Take the store over for this model; a schema of another model or version is forgotten.

        Raises StateDirError while jobs of another model wait there: this one would refuse them or misdraw them.
        """
        document = store.document(SCHEMA_DOCUMENT)
        counts = store.counts()
        unfinished = counts.queued + counts.running
        if document is not None and document["model"] != self.model and unfinished:
            raise StateDirError(
                f"the state directory holds {unfinished} unfinished job(s) of another model ({document['model']}); "
                "start that model to finish them, or choose another --state-dir"
            )
        if document is None or (document["model"], document["version"]) != (self.model, self._version):
            self._write(store, {"schema": None, "output_suffix": ""})

    def reported(self, store: JobStore, ready: Ready) -> None:
        """The ranks are set up and have reported the arguments of predict."""
        known = {"schema": ready.schema, "output_suffix": ready.output_suffix}
        document = store.document(SCHEMA_DOCUMENT) or {}
        if {name: document.get(name) for name in known} != known:
            if document.get("schema") is not None:  # a rank was started anew, with the code that is there now
                log.warning("the model's arguments have changed since it was loaded; they are followed")
            self._write(store, known)

    def _write(self, store: JobStore, known: dict[str, Any]) -> None:
        store.put_document(SCHEMA_DOCUMENT, {"model": self.model, "version": self._version, **known})
